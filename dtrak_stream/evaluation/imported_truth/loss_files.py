"""A file of losses as D-TRAK's scripts write it: of each batch, at each timestep, of each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.plain_pickle import read_plain_pickle
from dtrak_stream.errors import InputError


def read_losses(path: Path) -> NDArray[np.float64]:
    """Return the losses (T, Q) float64 of Q images at T timesteps.

    Parameters
    ----------
    path
        Pickle of a list of batches, each a list of T arrays (B,).

    Raises
    ------
    InputError
        If it cannot be read, is not that, or holds NaN or inf.
    """
    batches = read_plain_pickle(path)
    if not _is_filled_list(batches):
        _refuse("is no list of batches", path)
    joined = [_batch(batch, number, path) for number, batch in enumerate(batches)]
    steps = sorted({len(batch) for batch in joined})
    if len(steps) > 1:
        _refuse(f"has batches of {steps[0]} and of {steps[-1]} timesteps", path)
    losses = np.concatenate(joined, axis=1)  # of (T, B) each -> (T, Q)
    bad = ~np.isfinite(losses).all(axis=0)
    if bad.any():
        _refuse(f"the loss of {int(bad.sum())} images is not finite (first: {bad.argmax()})", path)
    return losses


def _batch(batch: Any, number: int, path: Path) -> NDArray[np.float64]:
    """Return one batch as (T, B)."""
    if not _is_filled_list(batch) or not all(map(_is_losses, batch)):
        _refuse(f"batch {number} is no list of arrays of losses", path)
    if len({len(losses) for losses in batch}) > 1:
        _refuse(f"batch {number} has other numbers of images at other timesteps", path)
    return np.stack([np.asarray(losses, np.float64) for losses in batch])


def _is_filled_list(held: Any) -> bool:
    return isinstance(held, list | tuple) and len(held) > 0


def _is_losses(held: Any) -> bool:
    is_array = isinstance(held, np.ndarray) and held.ndim == 1 and len(held) > 0
    return bool(is_array and held.dtype.kind == "f")


def _refuse(what: str, path: Path) -> NoReturn:
    raise InputError(
        what,
        where=path,
        remedy="give losses as D-TRAK writes them: a list of batches, each a list of arrays (B,), "
        "one a timestep",
    )
