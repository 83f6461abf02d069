"""From a truth file to a scores file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.evaluation.lds.configuration import chosen_range
from dtrak_stream.evaluation.lds.judge import resolved_key, truth_name
from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
from dtrak_stream.evaluation.subset_scores.regressions import (
    ColumnScores,
    column_blocks,
    fitted_scores,
)
from dtrak_stream.evaluation.truth import TruthFile, encoded_ids
from dtrak_stream.scoring.file_attributes import SIGN_CONVENTION
from dtrak_stream.scoring.running_top import RunningTop
from dtrak_stream.scoring.scores_checksums import write_checksums
from dtrak_stream.scoring.scores_layout import FITTED_SUBSETS, FITTED_TO
from dtrak_stream.scoring.writer import finished_scores
from dtrak_stream.support.destinations import refuse_without_room
from dtrak_stream.support.hdf5 import new_hdf5
from dtrak_stream.support.names import FixedWidthNames, write_names
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import record_run


@dataclass(frozen=True)
class SubsetScoreResult:
    """What fitting did.

    Attributes
    ----------
    path
        The HDF5 file.
    computed
        1 if the file was written by this call, 0 if it was already there.
    quarantined
        Training images and queries that have no scores.
    """

    path: Path
    computed: int
    quarantined: int


def score_from_subsets(config: SubsetScoreConfig) -> SubsetScoreResult:
    """Write the scores that retrained models themselves give; positive = proponent.

    An image that is in all of the subsets or in none has no score (NaN), nor has a query without
    losses.

    Raises
    ------
    InputError, CorruptFileError
        If the truth file cannot be used.
    ConfigurationError
        If there are too few subsets for an option.
    MemoryLimitError
        If the lasso does not fit in the memory limit.
    """
    truth = TruthFile(config.truth)
    key = resolved_key(truth, config.loss_key)
    subsets = chosen_range(config.subsets, len(truth.mask), "--subsets")
    mask, losses = truth.mask[subsets], truth.loss(key)[subsets]
    _refuse_too_few(config, len(mask))
    usable = np.asarray(~np.isnan(losses).any(axis=0), dtype=np.bool_)
    if not usable.any():
        raise InputError(
            "has no query whose losses are all there",
            where=config.truth,
            remedy="check the queries it was made with",
        )
    counts = np.asarray(mask.sum(axis=0, dtype=np.int64))
    varying = _between(counts, len(mask))
    bad = int((~usable).sum() + (~varying).sum())
    identity = _identity(config, truth, key, subsets, losses)
    if finished_scores(config.out, identity) is not None:
        say(f"{config.out}: already complete")
        return SubsetScoreResult(config.out, 0, bad)
    record_run(config.out.with_suffix(".config.yaml"), config)
    fitted = fitted_scores(mask, losses[:, usable], config)
    write_score_columns(
        config.out,
        _blocks(fitted, mask, usable, varying, visible=not config.quiet),
        query_ids=_ids(truth.query_ids(key), losses.shape[1]),
        train_ids=_train_ids(truth),
        top_k=config.top_k,
        attributes=identity | _facts(truth, key, usable, varying),
    )
    return SubsetScoreResult(config.out, 1, bad)


def _blocks(
    fitted: ColumnScores,
    mask: NDArray[Any],
    usable: NDArray[np.bool_],
    varying: NDArray[np.bool_],
    *,
    visible: bool,
) -> Iterator[ScoreColumns]:
    count = mask.shape[1]
    with progress(count, description="scoring", unit="image", visible=visible) as bar:
        for columns in column_blocks(count):
            members = mask[:, columns].astype(np.float64)
            scores = np.full((len(usable), members.shape[1]), np.nan, np.float32)
            scores[usable] = fitted.of_columns(columns, members)
            scores[:, ~varying[columns]] = np.nan
            yield ScoreColumns(columns, scores)
            bar.update(members.shape[1])


def _between(counts: NDArray[np.int64], subsets: int) -> NDArray[np.bool_]:
    """Return which images are in some subsets and not in others, (N,) bool."""
    return np.asarray((counts > 0) & (counts < subsets), dtype=np.bool_)


def _identity(
    config: SubsetScoreConfig,
    truth: TruthFile,
    key: str,
    subsets: slice,
    losses: NDArray[np.float64],
) -> dict[str, Any]:
    """Return what decides the scores: attributes of the file."""
    digest = xxhash.xxh3_128(np.ascontiguousarray(losses).tobytes())
    for row in truth.mask[subsets]:
        digest.update(np.ascontiguousarray(row).tobytes())
    identity: dict[str, Any] = {
        "method": config.method,
        "transform": "none",
        "loss_key": key,
        FITTED_TO: truth_name(truth),
        FITTED_SUBSETS: f"{subsets.start}:{subsets.stop}",
        "truth_contents": digest.hexdigest(),
        "top_k": config.top_k,
        "has_all_scores": True,
    }
    if config.method == "datamodel":
        penalties = ",".join(map(str, config.penalties)) if config.penalty == "ridge" else "path"
        identity |= {"penalty": config.penalty, "penalties": penalties, "folds": config.folds}
    return identity


def _facts(
    truth: TruthFile, key: str, usable: NDArray[np.bool_], varying: NDArray[np.bool_]
) -> dict[str, Any]:
    return {
        "image_shape": truth.image_shape or "unknown",
        "train_images": truth.train_images or "",
        "query_images": truth.query_images(key) or "",
        "train_samples": len(varying),
        "query_samples": len(usable),
        "quarantined_train": int((~varying).sum()),
        "quarantined_query": int((~usable).sum()),
        "sign_convention": SIGN_CONVENTION,
    }


def _ids(names: list[str] | None, count: int) -> NDArray[np.bytes_]:
    return encoded_ids(names if names is not None else map(str, range(count)))


def _train_ids(truth: TruthFile) -> NDArray[np.bytes_]:
    names = truth.train_ids()
    return _ids(None, truth.mask.shape[1]) if names is None else np.asarray(names)


def _refuse_too_few(config: SubsetScoreConfig, subsets: int) -> None:
    needed = 2 * config.folds if config.method == "datamodel" else 2
    if subsets < needed:
        raise ConfigurationError(
            f"{subsets} subsets are too few for {config.folds} folds",
            where=f"--folds {config.folds}",
            remedy=f"retrain on at least {needed} subsets, or give fewer folds",
        )


@dataclass(frozen=True)
class ScoreColumns:
    """A block of columns of the score matrix."""

    columns: slice
    """Which training images."""
    scores: NDArray[np.float32]
    """(Q, n); NaN where there is no score."""


def write_score_columns(
    path: Path,
    blocks: Iterator[ScoreColumns],
    *,
    query_ids: NDArray[np.bytes_],
    train_ids: NDArray[np.bytes_],
    top_k: int,
    attributes: dict[str, Any],
) -> None:
    """Write `scores`, rankings, ids and attributes, whole or not at all.

    Parameters
    ----------
    path
        The scores.h5.
    blocks
        All columns, in order.
    query_ids, train_ids
        (Q,) and (N,) sample ids.
    top_k
        Length of the rankings; at most N are kept.
    attributes
        Attributes of the file.
    """
    shape = (len(query_ids), len(train_ids))
    top = RunningTop(shape[0], min(top_k, shape[1]))
    bottom = RunningTop(shape[0], min(top_k, shape[1]))
    refuse_without_room(path, 4 * shape[0] * shape[1] + 24 * shape[0] * min(top_k, shape[1]))
    with new_hdf5(path) as new:
        file = new.file
        for name, ids in (("query_id", query_ids), ("train_id", train_ids)):
            write_names(file, name, FixedWidthNames(ids), ids.dtype.itemsize)
        scores = file.create_dataset("scores", shape, np.float32)
        for block in blocks:
            scores[:, block.columns] = block.scores
            index = np.arange(block.columns.start, block.columns.stop)
            top.update(block.scores, index)
            bottom.update(-block.scores, index)
            new.check()
        for name, running, sign in (("top", top, 1), ("bottom", bottom, -1)):
            index, listed = running.listed()
            file[f"{name}_index"], file[f"{name}_score"] = index, sign * listed
        file.attrs.update(attributes)
        new.check()  # what could not be written cannot be read
        write_checksums(file)
