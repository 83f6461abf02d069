"""Files of row numbers, which pick images of a source and put them in order."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from dtrak_stream.data.index_pickle import PICKLE_SUFFIXES, read_index_pickle
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError

SUFFIXES = (".txt", ".npy", ".json", *PICKLE_SUFFIXES)

_REMEDY = "write whole numbers from 0, each once"


def read_rows(path: Path, count: int) -> NDArray[np.int64]:
    """Return the row numbers in a file, in its order.

    Parameters
    ----------
    path
        `.txt`: one a line; `.npy`: an array (n,) of whole numbers; `.json`: a list;
        `.pkl`: a pickle of a list or an array, as D-TRAK's scripts write it.
    count
        Number of rows there are to pick from; the first is row 0.

    Returns
    -------
    numpy.ndarray
        (n,) int64.

    Raises
    ------
    InputError
        If the file cannot be read or holds anything else, no row, a row twice, a negative one, or
        one that is not there.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            "is no file of row numbers",
            where=path,
            remedy=f"give one of these kinds: {', '.join(SUFFIXES)}",
        )
    readers = {".txt": _from_lines, ".npy": _from_array, ".json": _from_json}
    try:
        rows = readers.get(suffix, read_index_pickle)(path)
    except (OSError, EOFError) as error:
        raise unreadable(path, error) from error
    _refuse(rows, count, path)
    return rows


def _from_lines(path: Path) -> NDArray[np.int64]:
    return np.fromiter(_numbers(path), np.int64)


def _numbers(path: Path) -> Iterator[int]:
    with open_regular(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(BOM_UTF8 if number == 1 else b"").strip()
            if text:
                yield _number(text, f"line {number}", path)


def _number(text: bytes, place: str, path: Path) -> int:
    digits = text.removeprefix(b"-")
    # more digits would not fit, and are of no row that there is
    if not digits.isdigit() or len(digits) > 18:
        raise InputError(
            f"{place} is no row number ({text[:20].decode(errors='replace')})",
            where=path,
            remedy=_REMEDY,
        )
    return int(text)


def _from_array(path: Path) -> NDArray[np.int64]:
    with open_regular(path) as file:
        try:
            found: NDArray[Any] = npy_format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise unreadable(path, error) from error
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputError(
            f"holds an array of shape {found.shape} and type {found.dtype}",
            where=path,
            remedy="save an array (n,) of whole numbers",
        )
    if found.dtype == np.uint64 and len(found):
        found = np.minimum(found, np.uint64(np.iinfo(np.int64).max))
    return found.astype(np.int64)


def _from_json(path: Path) -> NDArray[np.int64]:
    with open_regular(path) as file:
        try:
            found = json.load(file)
        except (ValueError, RecursionError) as error:
            raise unreadable(path, error) from error
    if not isinstance(found, list):
        raise InputError("holds no list", where=path, remedy="write a list of row numbers")
    for place, value in enumerate(found):
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
            raise InputError(
                f"entry {place} (the first is 0) is no row number ({str(value)[:20]})",
                where=path,
                remedy=_REMEDY,
            )
    return np.array(found, np.int64)


def _refuse(rows: NDArray[np.int64], count: int, path: Path) -> None:
    in_order = np.sort(rows)
    twins = in_order[1:][in_order[1:] == in_order[:-1]]
    if not len(rows):
        problem = "names no rows"
    elif in_order[0] < 0:
        problem = f"names row {rows[rows < 0][0]}, which is negative"
    elif in_order[-1] >= count:
        problem = f"names row {rows[rows >= count][0]}, and there are {count} (the first is 0)"
    elif len(twins):
        problem = f"names row {twins[0]} twice"
    else:
        return
    raise InputError(problem, where=path, remedy=_REMEDY)
