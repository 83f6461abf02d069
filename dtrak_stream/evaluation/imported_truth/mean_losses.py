"""The loss of each query under each model: a mean over timesteps and noise of what files hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import InputError
from dtrak_stream.evaluation.imported_truth.loss_files import read_losses
from dtrak_stream.evaluation.imported_truth.model_folders import WantedLosses
from dtrak_stream.evaluation.imported_truth.query_sets import QuerySet

Losses = NDArray[np.float64]


def mean_losses(
    wanted: WantedLosses, query: QuerySet, done: Callable[[], Any]
) -> tuple[Losses, int]:
    """Return the losses (S, M, Q) of a set of queries under each model, and T.

    One file is in memory at a time.

    Parameters
    ----------
    wanted
        Which models, S seeds of M subsets, and which noise.
    query
        The set of queries.
    done
        Called after each file.

    Raises
    ------
    InputError
        If a file cannot be read, or is of other queries or timesteps than the first one.
    """
    like = _Alike(query)
    means = [
        np.mean([like.read(path, done) for path in wanted.files(seed, subset, query.name)], axis=0)
        for seed in wanted.model_seeds
        for subset in wanted.subsets
    ]
    stacked = np.stack(means)  # (S * M, Q)
    return stacked.reshape(len(wanted.model_seeds), len(wanted.subsets), -1), like.timesteps


class _Alike:
    """Files of losses of the same queries at the same timesteps."""

    def __init__(self, query: QuerySet) -> None:
        self._query = query
        self._first: tuple[Path, tuple[int, ...]] | None = None

    @property
    def timesteps(self) -> int:
        """Return T, once a file was read."""
        return 0 if self._first is None else self._first[1][0]

    def read(self, path: Path, done: Callable[[], Any]) -> Losses:
        """Return the loss of each query, (Q,): the mean over timesteps."""
        losses = read_losses(path)  # (T, Q)
        if self._first is None:
            self._query.require(losses.shape[1])
            self._first = path, losses.shape
        first, shape = self._first
        if losses.shape != shape:
            raise InputError(
                f"holds losses of {losses.shape[1]:,} images at {losses.shape[0]:,} timesteps, "
                f"{first} of {shape[1]:,} at {shape[0]:,}",
                where=path,
                remedy="measure it again, or leave its subset out by --subsets",
            )
        done()
        return np.asarray(losses.mean(axis=0))
