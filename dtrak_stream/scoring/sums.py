"""Blocks of scores on their way to being averages: kept after each member, so that none is lost.

A block is kept as `NAME-after-00003` once three members are summed, and as `NAME` once it is
finished. It takes the same room however many members there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.checkpoints import Checkpoints

Part = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PartSums:
    """The blocks of one run.

    Attributes
    ----------
    checkpoints
        Where they are kept.
    members
        Number of members.
    variants
        Number of averages V.
    """

    checkpoints: Checkpoints
    members: int
    variants: int

    def done(self, names: list[str]) -> dict[str, int]:
        """Return for each block how many members are in it, by what is kept whole."""
        kept = self.checkpoints.names()
        return {name: self._done(name, kept) for name in names}

    def _done(self, name: str, kept: set[str]) -> int:
        if name in kept and self.checkpoints.load(name) is not None:
            return self.members
        for count in range(self.members - 1, 0, -1):
            sums = _after(name, count)
            if sums in kept and self.checkpoints.load(sums) is not None:
                return count
        return 0

    def add(self, name: str, done: int, variant: int, scores: FloatArray) -> FloatArray:
        """Return the sums (V, L, Q, n) of a block of `done` members after adding one more.

        Raises
        ------
        CorruptFileError
            If the sums were damaged since they were kept.
        """
        if self.members == 1:
            return scores[None]
        if done == 0:
            sums = np.zeros((self.variants, *scores.shape), np.float32)
        else:
            kept = self.checkpoints.load(_after(name, done))
            if kept is None:
                raise damaged_part(self.checkpoints, name)
            sums = kept["sums"]
        sums[variant] += scores
        return sums

    def keep_sums(self, name: str, done: int, sums: FloatArray) -> None:
        """Keep a block in which `done` members are summed, in place of what was kept of it."""
        self.checkpoints.save(_after(name, done), sums=sums)
        self._drop_before(name, done)

    def keep_finished(self, name: str, part: Part) -> None:
        """Keep a finished block, in place of its sums."""
        self.checkpoints.save(name, **part)
        self._drop_before(name, self.members)

    def _drop_before(self, name: str, done: int) -> None:
        for count in range(1, done):
            self.checkpoints.drop(_after(name, count))


def damaged_part(checkpoints: Checkpoints, name: str) -> CorruptFileError:
    """Return the refusal of a block that is not what it was when it was kept."""
    return CorruptFileError(
        f"a scored block ({name}) was damaged since it was written",
        where=checkpoints.folder,
        remedy="run the same command again; it scores that block anew",
    )


def _after(name: str, count: int) -> str:
    return f"{name}-after-{count:05d}"
