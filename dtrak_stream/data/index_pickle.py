"""Pickles of row numbers: which rows of a data set are meant, in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.plain_pickle import read_plain_pickle
from dtrak_stream.errors import InputError

PICKLE_SUFFIXES = (".pkl", ".pickle")
LARGEST_INDEX = 2**28
"""Bytes of the largest pickle of row numbers that is read: some 50 million of them."""


def is_pickle(path: Path) -> bool:
    """Return whether the name of a file says that it is a pickle."""
    return path.suffix.lower() in PICKLE_SUFFIXES


def read_index_pickle(path: Path) -> NDArray[np.int64]:
    """Return the row numbers (n,) int64 in a pickle of a list, tuple or array of them.

    Raises
    ------
    InputError
        If it cannot be read, or holds anything else, or nothing.
    """
    held = read_plain_pickle(path, limit=LARGEST_INDEX)
    if isinstance(held, list | tuple) and all(map(_is_row, held)):
        return _refuse_none(np.array(held, np.int64), path)
    if isinstance(held, np.ndarray) and held.ndim == 1 and held.dtype.kind in "iu":
        return _refuse_none(np.asarray(held, np.int64), path)
    raise _no_index(path)


def _is_row(number: object) -> bool:
    is_whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    return is_whole and 0 <= int(number) < 2**63  # type: ignore[call-overload]


def _refuse_none(numbers: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    if not len(numbers) or numbers.min() < 0:
        raise _no_index(path)
    return numbers


def _no_index(path: Path) -> InputError:
    return InputError(
        "is no list of row numbers, whole and from 0 on",
        where=path,
        remedy="give a pickle of a list, a tuple or an array of them, such as idx-train.pkl",
    )
