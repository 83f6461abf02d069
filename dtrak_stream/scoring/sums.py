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

_AFTER = "-after-"


@dataclass(frozen=True)
class PartSums:
    """The blocks of one run.

    Attributes
    ----------
    checkpoints
        Where they are kept.
    members
        Number of members.
    slots
        Number of sums A that are kept side by side.
    """

    checkpoints: Checkpoints
    members: int
    slots: int

    def done(self, names: list[str]) -> dict[str, int]:
        """Return for each block how many members are in it, by what is kept whole."""
        kept: dict[str, list[int]] = {}
        for name in self.checkpoints.names():
            block, _, count = name.partition(_AFTER)
            kept.setdefault(block, []).append(int(count) if count else self.members)
        return {name: self._done(name, sorted(kept.get(name, ()))) for name in names}

    def _done(self, name: str, counts: list[int]) -> int:
        """Return the largest count that is whole; drop the smaller, which a crash left behind."""
        while counts:
            count = counts.pop()
            if self.checkpoints.load(self._name(name, count)) is not None:
                for smaller in counts:
                    self.checkpoints.drop(self._name(name, smaller))
                return count
        return 0

    def add(self, name: str, done: int, slot: int, scores: FloatArray) -> FloatArray:
        """Return the sums (A, L, Q, n) of a block of `done` members after adding one to a sum.

        Raises
        ------
        CorruptFileError
            If the sums were damaged since they were kept.
        """
        if self.members == 1:
            return scores[None]
        if done == 0:
            sums = np.zeros((self.slots, *scores.shape), np.float32)
        else:
            kept = self.checkpoints.load(self._name(name, done))
            if kept is None:
                raise damaged_part(self.checkpoints, name)
            sums = kept["sums"]
        sums[slot] += scores
        return sums

    def keep_sums(self, name: str, done: int, sums: FloatArray) -> None:
        """Keep a block in which `done` members are summed, in place of what was kept of it."""
        self._keep(name, done, {"sums": sums})

    def keep_finished(self, name: str, part: Part) -> None:
        """Keep a finished block, in place of its sums."""
        self._keep(name, self.members, part)

    def _keep(self, name: str, done: int, part: Part) -> None:
        self.checkpoints.save(self._name(name, done), **part)
        if done > 1:
            self.checkpoints.drop(self._name(name, done - 1))

    def _name(self, name: str, done: int) -> str:
        return name if done == self.members else f"{name}{_AFTER}{done:05d}"


def damaged_part(checkpoints: Checkpoints, name: str) -> CorruptFileError:
    """Return the refusal of a block that is not what it was when it was kept."""
    return CorruptFileError(
        f"a scored block ({name}) was damaged since it was written",
        where=checkpoints.folder,
        remedy="run the same command again; it scores that block anew",
    )
