"""Truth files and scores files with known contents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.evaluation.subset_scores.run import ScoreColumns, write_score_columns
from dtrak_stream.evaluation.subsets import draw_subset
from dtrak_stream.evaluation.truth import encoded_ids, write_truth


def half_masks(subsets: int, count: int) -> np.ndarray:
    """Return (M, N) bool, halves."""
    return np.stack([draw_subset(count, count // 2, seed=0, number=m) for m in range(subsets)])


def linear_losses(mask: np.ndarray, scores: np.ndarray, noise: float = 0.0, seed: int = 0):
    """Return losses (M, Q) that the sums of `scores` (Q, N) lower, with some noise."""
    exact = 3.0 - mask @ scores.T
    return exact + noise * exact.std() * np.random.default_rng(seed).normal(size=exact.shape)


def names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{i}" for i in range(count)]


def truth_of(
    path: Path,
    mask: np.ndarray,
    losses: np.ndarray,
    *,
    named: bool = True,
    attributes: dict[str, Any] | None = None,
) -> Path:
    """Write a truth file; losses (M, Q), or (S, M, Q) of several seeds."""
    arrays = {"mask": mask, "loss": losses if losses.ndim == 2 else losses.mean(axis=0)}
    if losses.ndim == 3:
        arrays["loss_seeds"] = losses
    if named:
        arrays["train_id"] = encoded_ids(names("train", mask.shape[1]))
        arrays["query_id"] = encoded_ids(names("query", losses.shape[-1]))
    write_truth(path, arrays, attributes or {})
    return path


def scores_of(
    path: Path,
    scores: np.ndarray,
    *,
    train: list[str] | None = None,
    query: list[str] | None = None,
    top_k: int = 3,
    **attributes: Any,
) -> Path:
    """Write a scores file with scores (Q, N) and some attributes."""
    facts = {"method": "d-trak", "transform": "none", "image_shape": "1x8x8", **attributes}
    values = scores.astype(np.float32)
    write_score_columns(
        path,
        iter([ScoreColumns(slice(0, values.shape[1]), values)]),
        query_ids=encoded_ids(query or names("query", len(values))),
        train_ids=encoded_ids(train or names("train", values.shape[1])),
        top_k=top_k,
        attributes=facts,
    )
    return path
