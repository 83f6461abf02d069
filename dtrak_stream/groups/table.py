"""Which group each training sample belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import InputError, MemoryLimitError
from dtrak_stream.support.memory import format_enough, format_size

REST = "(no group)"
_NO_GROUP = -1
_BYTES_PER_NAME = 200  # a text and its place in a dictionary

Index = NDArray[np.int32]


@dataclass(frozen=True)
class GroupTable:
    """The groups of all training samples.

    Attributes
    ----------
    names
        (G,) fixed-length UTF-8, in the order of their first samples; the samples without a group
        come last, as a group called `REST`.
    index
        (N,) int32: the group of each sample.
    rest
        Number of samples without a group.
    """

    names: NDArray[np.bytes_]
    index: Index
    rest: int

    def __len__(self) -> int:
        return len(self.names)

    def hash(self) -> str:
        """Return an xxh3-128 over names and membership."""
        digest = xxhash.xxh3_128(self.names.tobytes())
        digest.update(f"|{self.names.dtype.str}|{len(self)}|".encode())
        digest.update(np.ascontiguousarray(self.index).data.cast("B"))
        return digest.hexdigest()

    def counts(self, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many usable samples (N,) each group has: (G,)."""
        return np.bincount(self.index[usable], minlength=len(self)).astype(np.int64)


class GroupBuilder:
    """Makes the table from labels that come in any order.

    Parameters
    ----------
    samples
        N.
    memory_limit
        Bytes that the names may take.
    where
        Where the labels come from, for messages.
    """

    def __init__(self, samples: int, *, memory_limit: int, where: object) -> None:
        self.index: Index = np.full(samples, _NO_GROUP, np.int32)
        self._codes: dict[str, int] = {}
        self._widest = 0
        self._memory_limit = memory_limit
        self._where = where

    def code(self, label: str | None) -> int:
        """Return the number of a group, which may be new; -1 for None.

        Raises
        ------
        InputError
            If a group is called as samples without a group are.
        MemoryLimitError
            If there are more groups than fit.
        """
        if label is None:
            return _NO_GROUP
        code = self._codes.setdefault(label, len(self._codes))
        if code == len(self._codes) - 1:
            self._check(label)
        return code

    def table(self) -> GroupTable:
        """Return the table, groups in the order of their first samples."""
        codes, first = np.unique(self.index, return_index=True)
        first, codes = first[codes >= 0], codes[codes >= 0]
        order = codes[np.argsort(first)]  # codes by their first sample
        place = np.full(len(self._codes) + 1, len(order), np.int32)  # the last is that of -1
        place[order] = np.arange(len(order))
        names = list(self._codes)
        listed = [names[code].encode() for code in order]
        rest = int((self.index == _NO_GROUP).sum())
        if rest:
            listed.append(REST.encode())
        return GroupTable(np.array(listed, np.bytes_), place[self.index], rest)

    def _check(self, label: str) -> None:
        if label == REST:
            raise InputError(
                f"a group is called {REST!r}, as samples without a group are",
                where=self._where,
                remedy="rename it, or leave it empty",
            )
        self._widest = max(self._widest, len(label.encode()))
        # names are as wide as the widest in the table, which is made from a list of them
        needed = (_BYTES_PER_NAME + 2 * self._widest) * len(self._codes) + 3 * self.index.nbytes
        if needed > self._memory_limit:
            raise MemoryLimitError(
                f"more than {len(self._codes) - 1:,} groups do not fit",
                where=f"--memory-limit {format_size(self._memory_limit)}",
                remedy=f"allow more than {format_enough(needed)}, or make coarser groups",
            )
