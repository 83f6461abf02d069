"""The scores file of scores that are fitted to subsets: as scoring from features writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dtrak_stream.scoring.top import RunningTop
from dtrak_stream.support.durable import durable_path


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
    with durable_path(path) as partial, h5py.File(partial, "w", libver="latest") as file:
        file["query_id"], file["train_id"] = query_ids, train_ids
        scores = file.create_dataset("scores", shape, np.float32)
        for block in blocks:
            scores[:, block.columns] = block.scores
            index = np.arange(block.columns.start, block.columns.stop)
            top.update(block.scores, index)
            bottom.update(-block.scores, index)
        for name, running, sign in (("top", top, 1), ("bottom", bottom, -1)):
            index, listed = running.listed()
            file[f"{name}_index"], file[f"{name}_score"] = index, sign * listed
        file.attrs.update(attributes)
