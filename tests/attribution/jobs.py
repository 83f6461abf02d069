"""Small runs of the main job, and what they leave behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dtrak_stream import AttributeConfig, GramOptions, ScoreOptions
from tests.small_jobs import (
    ALIKE,
    small_features,
    written_at,
)

TRAIN, QUERIES = 12, 4


def job(
    model: str,
    sources: tuple[Path, Path],
    run: Path,
    *,
    scores: dict[str, Any] | None = None,
    gram_form: Any = "auto",
    limit: int | None = None,
    **features: Any,
) -> AttributeConfig:
    return AttributeConfig(
        model=model,
        train=str(sources[0]),
        query=str(sources[1]),
        run=run,
        limit=limit,
        features=small_features(**{"rows_per_shard": 5, **features}),
        execution=ALIKE,
        score_options=ScoreOptions(**{"damping": "0.1", "top_k": 5, **(scores or {})}),
        gram_options=GramOptions(gram_form=gram_form),
        quiet=True,
    )


def datasets(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def attributes(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return dict(file.attrs)


def results_of(run: Path) -> dict[str, tuple[int, int]]:
    """Return when each file but the report and the records was written."""
    kept = {
        name: at
        for name, at in written_at(run).items()
        if not name.startswith(("report/", "config.")) and not name.endswith("/checked.json")
    }
    assert {"gram.h5", "scores.h5", "train/store.json", "query/store.json"} <= set(kept)
    return kept


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run of the command, and what it told."""

    config: AttributeConfig
    code: int
    out: str
    errors: str


def score_flags(run: Path, query: Path, **changes: str) -> list[str]:
    options = {
        "train": run / "train",
        "query": query,
        "gram": run / "gram.h5",
        "out": query.parent / "scores.h5",
        **changes,
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def assert_same_scores(first: Path, second: Path) -> None:
    found, expected = datasets(first / "scores.h5"), datasets(second / "scores.h5")
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f"), name
