"""Bringing the samples of two files into one order, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import InputError

_BLOCK = 2**16


class Names(Protocol):
    """Sample ids as UTF-8 bytes, read a slice at a time."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, places: slice, /) -> Iterable[bytes]:
        """Return some of them."""


def order_by_name(
    wanted: Names,
    present: Names,
    *,
    what: str,
    where: object,
    other: object,
) -> NDArray[np.int64] | None:
    """Return the place in `present` of each of `wanted`; None if the order is the same.

    Names are compared block by block; only when the order differs are 16 bytes a sample held.

    Parameters
    ----------
    wanted, present
        Sample ids; a list, an array or anything that reads them when asked.
    what, where, other
        What the samples are, in which file they are wanted, and which file was to have them; for
        the refusal.

    Raises
    ------
    InputError
        If a sample of one file is not in the other, or a name occurs twice.
    """
    if len(wanted) == len(present) and all(
        ours == theirs for ours, theirs in zip(_blocks(wanted), _blocks(present), strict=True)
    ):
        return None
    hashes, candidates = _hashes(wanted), _hashes(present)
    order = np.argsort(candidates, kind="stable")
    _refuse_twins(candidates[order], what, other)
    places = np.minimum(np.searchsorted(candidates, hashes, sorter=order), len(order) - 1)
    found = order[places]
    missing = np.flatnonzero(candidates[found] != hashes)
    if len(missing):
        raise _not_there(_name_at(wanted, missing[0]), len(missing), what, where, other)
    if len(wanted) < len(present):
        extra = np.setdiff1d(np.arange(len(present)), found)
        raise _not_there(_name_at(present, extra[0]), len(extra), what, other, where)
    _refuse_twins(np.sort(hashes), what, where)
    return np.asarray(found, dtype=np.int64)


def _blocks(names: Names) -> Iterator[list[bytes]]:
    for first in range(0, len(names), _BLOCK):
        yield [bytes(name) for name in names[first : first + _BLOCK]]


def _name_at(names: Names, place: int) -> bytes:
    return bytes(next(iter(names[place : place + 1])))


def _hashes(names: Names) -> NDArray[np.uint64]:
    values = (xxhash.xxh3_64_intdigest(name) for block in _blocks(names) for name in block)
    return np.fromiter(values, np.uint64, len(names))


def _refuse_twins(ordered: NDArray[np.uint64], what: str, where: object) -> None:
    if (ordered[1:] == ordered[:-1]).any():
        raise InputError(
            f"two of its {what} have the same name, and their order differs from the other file's",
            where=where,
            remedy="give files made from the same source in the same order",
        )


def _not_there(name: bytes, count: int, what: str, where: object, other: object) -> InputError:
    return InputError(
        f"{count} of its {what} are not in {other} (such as {name.decode(errors='replace')!r})",
        where=where,
        remedy="give files that are about the same samples",
    )
