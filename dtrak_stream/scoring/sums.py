"""Blocks of scores on their way from terms to a method: averages, transformed and added up.

Side by side lie the sums (V, L, Q, n) of the streams so far, one for each variant, and where there
are several streams the average of the latest one. A block is kept after each term, so that none is
lost: as `NAME-after-00003` once three are in it, and as `NAME` once it is finished. It takes the
same room however many terms there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.methods import Stream
from dtrak_stream.scoring.plan import slots_of
from dtrak_stream.scoring.stream_scales import StreamScales
from dtrak_stream.scoring.terms import Term, Terms
from dtrak_stream.scoring.transforms import TRANSFORMS, Transform
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.checkpoints import Checkpoints

Part = dict[str, NDArray[Any]]

_AFTER = "-after-"


@dataclass(frozen=True)
class Sums:
    """The blocks of one run, with what has been added to them.

    Attributes
    ----------
    terms
        What is added, in this order.
    streams
        The streams of the method's sum.
    checkpoints
        Where blocks are kept.
    """

    terms: Terms
    streams: tuple[Stream, ...]
    checkpoints: Checkpoints

    @cached_property
    def scales(self) -> StreamScales:
        """Return what streams are divided by."""
        return StreamScales(self.terms, self.streams, self.checkpoints)

    def transform_of(self, term: Term) -> Transform:
        """Return what is done to the scores of a term's stream."""
        return TRANSFORMS[self.streams[term.stream].transform]

    def done(self, names: list[str]) -> dict[str, int]:
        """Return for each block how many terms are in it, by what is kept whole."""
        kept: dict[str, list[int]] = {}
        for name in self.checkpoints.names():
            block, _, count = name.partition(_AFTER)
            kept.setdefault(block, []).append(int(count) if count else len(self.terms.each))
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

    def add(self, name: str, done: int, scores: FloatArray) -> FloatArray | None:
        """Add the scores (L, Q, n) of the next term to a block that has `done` of them.

        Returns
        -------
        ndarray or None
            The scores (V, L, Q, n) of the method, if it was the last one.

        Raises
        ------
        CorruptFileError
            If the block, or a sample of scores, was damaged since it was kept.
        """
        slot, each = self._slot(self.terms.each[done]), self.terms.each
        sums = self._sums(name, done, slot, scores)
        following = each[done + 1 : done + 2]
        if not following or following[0].place != each[done].place:
            self._join(sums, each[done])
        if not following:
            return sums[: self.terms.variants]
        self._keep(name, done + 1, {"sums": sums})
        return None

    def keep_finished(self, name: str, part: Part) -> None:
        """Keep a block that is nothing but what the scores file holds of it."""
        self._keep(name, len(self.terms.each), part)

    def _slot(self, term: Term) -> int:
        """Return which sum a term is added to: its stream's own, unless that is the first."""
        return self.terms.variants if term.stream else term.variant

    def _sums(self, name: str, done: int, slot: int, scores: FloatArray) -> FloatArray:
        """Return the sums (A, L, Q, n) of a block after adding to one of them."""
        if len(self.terms.each) == 1:
            return scores[None]
        if done == 0:
            slots = slots_of(len(self.streams), self.terms.variants)
            sums = np.zeros((slots, *scores.shape), np.float32)
        else:
            sums = required_part(self.checkpoints, self._name(name, done))["sums"]
        sums[slot] += scores
        return sums

    def _join(self, sums: FloatArray, term: Term) -> None:
        """Transform the average that a term was the last of, and add it to the streams before."""
        slot = self._slot(term)
        found = self.transform_of(term).mean(sums[slot])
        factors = self.scales.factors(term.stream)
        if factors is not None:
            found = found * factors[:, None, None]
        if slot == term.variant:
            sums[slot] = found
        else:
            sums[term.variant] += found
            sums[slot] = 0

    def _keep(self, name: str, done: int, part: Part) -> None:
        """Keep a block that has `done` terms in place of what was kept of it."""
        self.checkpoints.save(self._name(name, done), **part)
        if done > 1:
            self.checkpoints.drop(self._name(name, done - 1))

    def _name(self, name: str, done: int) -> str:
        return name if done == len(self.terms.each) else f"{name}{_AFTER}{done:05d}"


def required_part(checkpoints: Checkpoints, name: str) -> Part:
    """Return a block that was kept; raises as `Checkpoints.require`."""
    told = {"what": "a scored block", "remedy": "it scores that block anew"}
    return checkpoints.require(name, **told)
