"""Names found in any order, and the names of two files brought into one order.

24 bytes stand for each name, however long: a 128-bit hash, and its place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import InputError
from dtrak_stream.support.names import Names, Places, each_of, first_difference, name_at

Hashes = NDArray[np.bytes_]


def hashes_of(names: Iterable[bytes], count: int) -> Hashes:
    """Return the xxh3-128 of each of `count` names: (count,), 16 bytes each."""
    # all are 16 bytes long: that zeros at the end of such an entry do not count does no harm
    return np.fromiter(map(xxhash.xxh3_128_digest, names), np.dtype("S16"), count)


class NameIndex:
    """Finds names by their hashes.

    Parameters
    ----------
    names
        The names that can be found.
    """

    def __init__(self, names: Names) -> None:
        hashes = hashes_of(each_of(names), len(names))
        self._order: Places = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    @property
    def twins(self) -> Places:
        """Return where each name that is there more than once stands for the second time."""
        same = self._sorted[1:] == self._sorted[:-1]  # (n - 1,)
        second = same & ~np.concatenate([[False], same[:-1]])[: len(same)]
        return np.sort(self._order[1:][second])

    def places(self, wanted: Iterable[bytes], count: int) -> Places:
        """Return the place of each of `count` names: (count,), -1 for one that is not there."""
        if not len(self._sorted):
            return np.full(count, -1)
        hashes = hashes_of(wanted, count)
        nearest = np.minimum(np.searchsorted(self._sorted, hashes), len(self._sorted) - 1)
        return np.where(self._sorted[nearest] == hashes, self._order[nearest], -1)


def order_by_name(
    wanted: Names, present: Names, *, what: str, where: object, other: object
) -> Places | None:
    """Return the place in `present` of each of `wanted`; None if the order is the same.

    Parameters
    ----------
    wanted, present
        The names.
    what, where, other
        What is named, in which file they are wanted, and which file was to have them; for the
        refusal.

    Raises
    ------
    InputError
        If a name of one file is not in the other, or occurs twice.
    """
    if len(wanted) == len(present) and first_difference(wanted, present) is None:
        return None
    index = NameIndex(present)
    _refuse_twins(index, what, other)
    found = index.places(each_of(wanted), len(wanted))
    missing = np.flatnonzero(found < 0)
    if len(missing):
        raise _not_there(name_at(wanted, missing[0]), len(missing), what, where, other)
    if len(wanted) < len(present):
        extra = np.setdiff1d(np.arange(len(present)), found)
        raise _not_there(name_at(present, extra[0]), len(extra), what, other, where)
    _refuse_twins(NameIndex(wanted), what, where)
    return found


def _refuse_twins(index: NameIndex, what: str, where: object) -> None:
    if len(index.twins):
        raise InputError(
            f"two of its {what} have the same name, and their order differs from the other file's",
            where=where,
            remedy="give files made from the same source in the same order",
        )


def _not_there(name: str, count: int, what: str, where: object, other: object) -> InputError:
    return InputError(
        f"{count} of its {what} are not in {other} (such as {name!r})",
        where=where,
        remedy="give files that are about the same samples",
    )
