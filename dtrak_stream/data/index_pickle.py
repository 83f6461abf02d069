"""Pickles of whole numbers: which rows of a data set are meant, in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.plain_pickle import read_plain_pickle
from dtrak_stream.errors import InputError

PICKLE_SUFFIXES = (".pkl", ".pickle")
LARGEST_INDEX = 2**28
"""Bytes of the largest pickle of whole numbers that is read: some 50 million of them."""


def is_pickle(path: Path) -> bool:
    """Return whether the name of a file says that it is a pickle."""
    return path.suffix.lower() in PICKLE_SUFFIXES


def read_index_pickle(path: Path) -> NDArray[np.int64]:
    """Return the whole numbers (n,) int64 in a pickle of a list, tuple or array of them.

    Raises
    ------
    InputError
        If it cannot be read, or holds anything else, or nothing.
    """
    held = read_plain_pickle(path, limit=LARGEST_INDEX)
    if isinstance(held, list | tuple) and all(_is_whole(number) for number in held):
        held = np.array(held if _fits(held) else [])
    if isinstance(held, np.ndarray) and held.ndim == 1 and len(held) and held.dtype.kind in "iu":
        return np.asarray(held, np.int64)
    raise InputError(
        "is no list of whole numbers",
        where=path,
        remedy="give a pickle of a list, a tuple or an array of them, such as idx-train.pkl",
    )


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _fits(numbers: list[int] | tuple[int, ...]) -> bool:
    return all(-(2**63) <= number < 2**63 for number in numbers)
