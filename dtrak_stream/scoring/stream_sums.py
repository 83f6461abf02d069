"""Averages over models, transformed and added up: from the scores of members to those of a method.

Side by side lie the sums (V, L, Q, n) of the streams so far, one for each variant, and where there
are several streams the sum over the models of the latest one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtrak_stream.methods import Stream
from dtrak_stream.scoring.members import Member
from dtrak_stream.scoring.stream_scales import StreamScales
from dtrak_stream.scoring.sums import Part, PartSums
from dtrak_stream.scoring.transforms import TRANSFORMS, Transform
from dtrak_stream.store.shard import FloatArray


@dataclass(frozen=True)
class StreamSums:
    """The blocks of one run, with what has been added to them.

    Attributes
    ----------
    members
        The terms of the averages, stream by stream.
    streams
        The terms of the sum.
    variants
        Number of averages V.
    kept
        The blocks.
    scales
        What streams are divided by.
    """

    members: tuple[Member, ...]
    streams: tuple[Stream, ...]
    variants: int
    kept: PartSums
    scales: StreamScales

    def transform_of(self, member: Member) -> Transform:
        """Return what is done to the scores of a member's stream."""
        return TRANSFORMS[self.streams[member.model.stream].transform]

    def add(self, name: str, number: int, scores: FloatArray) -> FloatArray | None:
        """Add the scores (L, Q, n) of a block by one member.

        Returns
        -------
        ndarray or None
            The scores (V, L, Q, n) of the method, if it was the last member.

        Raises
        ------
        CorruptFileError
            If the block, or a sample of scores, was damaged since it was kept.
        """
        slot = self._slot(number)
        sums = self.kept.add(name, number, slot, scores)
        if self._ends_average(number):
            self._join(sums, number)
        if number + 1 == len(self.members):
            return sums[: self.variants]
        self.kept.keep_sums(name, number + 1, sums)
        return None

    def keep_finished(self, name: str, part: Part) -> None:
        """Keep a block that is nothing but what the scores file holds of it."""
        self.kept.keep_finished(name, part)

    def _slot(self, number: int) -> int:
        """Return which sum a member is added to: its stream's own, unless that is the first."""
        member = self.members[number]
        return self.variants if member.model.stream else member.variant

    def _ends_average(self, number: int) -> bool:
        """Return whether a member is the last one of its stream and variant."""
        places = [(one.model.stream, one.variant) for one in self.members[number : number + 2]]
        return len(set(places)) == len(places)

    def _join(self, sums: FloatArray, number: int) -> None:
        """Transform the mean over a stream's models, and add it to the streams before."""
        member, slot = self.members[number], self._slot(number)
        found = self.transform_of(member).mean(sums[slot])
        factors = self.scales.factors(member.model.stream)
        if factors is not None:
            found = found * factors[:, None, None]
        if slot == member.variant:
            sums[slot] = found
        else:
            sums[member.variant] += found
            sums[slot] = 0
