"""Scores block by block: computed, averaged, transformed, added up, ranked, kept."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dtrak_stream.groups.sums import GroupSums
from dtrak_stream.kernel.damping import DampingChoice
from dtrak_stream.methods import Method, Stream
from dtrak_stream.scoring.blocks import Products
from dtrak_stream.scoring.ensemble import Ensemble
from dtrak_stream.scoring.list_floors import ListFloors
from dtrak_stream.scoring.members import Member, MemberScores, member_scores
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.scoring.plan import ScorePlan, slots_of
from dtrak_stream.scoring.rankings import ranked_part
from dtrak_stream.scoring.seen_images import SeenImages
from dtrak_stream.scoring.stream_scales import StreamScales
from dtrak_stream.scoring.stream_sums import StreamSums
from dtrak_stream.scoring.sums import Part, PartSums
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.progress import progress


@dataclass(frozen=True)
class Scorer:
    """Scores one set of queries against one training set, by one model or the mean of several.

    Attributes
    ----------
    ensemble
        The models.
    members
        The terms of the averages.
    plan
        How the work is cut.
    options
        How long lists are.
    method, streams
        How features become scores, and the terms of the sum that they are, with what is done to
        the mean of each.
    choices
        The lambdas asked for; none for a method without a kernel.
    several
        Whether a list of lambdas was asked for.
    groups
        What sums scores per group of training samples.
    seen
        What residuals tell of the training images; None where they are not given.
    freedom
        The share of N that held-out images tell the rule `auto`; None where they do not.
    products
        How features are multiplied.
    """

    ensemble: Ensemble
    members: tuple[Member, ...]
    plan: ScorePlan
    options: ScoreOptions
    method: Method
    streams: tuple[Stream, ...]
    choices: tuple[DampingChoice, ...]
    several: bool
    groups: GroupSums
    seen: SeenImages | None = None
    freedom: float | None = None
    products: Products = Products()  # noqa: RUF009 (frozen)

    @property
    def train(self) -> FeatureStore:
        """Return the training store that ids are taken from."""
        return self.ensemble.first.train

    @property
    def query(self) -> FeatureStore:
        """Return the query store that ids are taken from."""
        return self.ensemble.first.query

    @property
    def top_k(self) -> int:
        """Return the length of the lists of each query."""
        return min(self.options.top_k, len(self.train))

    @property
    def lambdas(self) -> int:
        """Return L, the number of lambdas, 1 without a kernel."""
        return max(1, len(self.choices))

    @property
    def sums(self) -> int:
        """Return how many sums are kept side by side; 0 where no two members are added."""
        return slots_of(len(self.streams), self.variants) if len(self.members) > 1 else 0

    @property
    def variants(self) -> int:
        """Return V, the number of averages: 1, or 3 with error bars."""
        return 1 + max(member.variant for member in self.members)

    def score_missing(self, checkpoints: Checkpoints, *, visible: bool) -> int:
        """Score every block that is not kept yet, whole; return how many those were.

        With several members, a block counts once for each.
        """
        sums = self._sums(checkpoints)
        parts = list(self.plan.parts())
        done = sums.kept.done([name for _, _, name in parts])
        total = len(parts) * len(self.members)
        before = sum(done.values())
        with progress(
            total, description="scoring", unit="block", done=before, visible=visible
        ) as bar:
            for number, member in enumerate(self.members):
                missing = [part for part in parts if done[part[2]] == number]
                if missing or not self._is_told(member, sums):
                    for name in self._add_member(number, missing, sums, visible=visible):
                        done[name] += 1
                        bar.update()
        return total - before

    def _sums(self, checkpoints: Checkpoints) -> StreamSums:
        kept = PartSums(checkpoints, len(self.members), self.sums)
        scales = StreamScales(self.ensemble, self.streams, checkpoints)
        return StreamSums(self.members, self.streams, self.variants, kept, scales)

    def _add_member(
        self, number: int, missing: list[tuple[int, int, str]], sums: StreamSums, *, visible: bool
    ) -> Iterator[str]:
        """Add one member to blocks, and yield their names; its kernel is gone afterwards."""
        member = self.members[number]
        scores = self._scores_of(member, sums, visible=visible)
        if sums.scales.lack(member):
            self._add_sample(member, scores, sums)
        for q, of_block in itertools.groupby(missing, key=operator.itemgetter(0)):
            steps = list(of_block)
            blocks = scores.blocks(self.plan.queries[q])
            floors = ListFloors(self.lambdas, len(self.plan.queries[q]), self.top_k)
            taus = blocks.of_parts([self.plan.rows[r] for _, r, _ in steps])
            for (_, r, name), tau in zip(steps, taus, strict=True):
                factors_name = f"factors-{member.variant}-{member.number:05d}-{r:06d}"
                factors = scores.factors(self.plan.rows[r], factors_name, sums.kept.checkpoints)
                found = sums.add(name, number, self._weighted(sums, member, factors, tau))
                if found is not None:
                    sums.keep_finished(name, self._finished(found, q, r, floors))
                yield name
            del blocks, taus  # before the next are made: only one has room

    def _add_sample(self, member: Member, scores: MemberScores, sums: StreamSums) -> None:
        """Score the sample that the scale of the member's stream is computed of."""
        scales, found = sums.scales, []
        taus = scores.blocks_of(scales.queries).of_parts(scales.rows)
        for rows, tau in zip(scales.rows, taus, strict=True):
            name = f"factors-sample-{member.number:05d}-{rows.start:012d}"
            factors = scores.factors(rows, name, scales.checkpoints)
            found.append(self._weighted(sums, member, factors, tau.copy()))
        scales.add(member, np.concatenate(found, axis=-1))

    def _is_told(self, member: Member, sums: StreamSums) -> bool:
        if member.variant:
            return True
        needed = member.model.gram is not None
        told = not needed or sums.kept.checkpoints.load(member.facts_name) is not None
        return told and not sums.scales.lack(member)

    def _scores_of(self, member: Member, sums: StreamSums, *, visible: bool) -> MemberScores:
        return member_scores(
            member,
            self.method,
            sums.transform_of(member).of_freedom(self.freedom),
            self.choices,
            self.plan.solver,
            sums.kept.checkpoints,
            self.products,
            visible=visible,
        )

    def _weighted(
        self, sums: StreamSums, member: Member, factors: FloatArray | None, tau: FloatArray
    ) -> FloatArray:
        """Return the scores tau (L, Q, n) of a block by one member, as they enter the average."""
        if factors is not None:
            tau *= factors[:, None]
        tau = sums.transform_of(member).each(tau)
        if member.model.weight != 1:
            tau *= np.float32(member.model.weight)
        return tau

    def _finished(self, scores: FloatArray, q: int, r: int, floors: ListFloors) -> Part:
        """Drop samples from the sums (V, L, Q, n) of all streams that have no score, and rank."""
        queries, rows = self.plan.queries[q], self.plan.rows[r]
        if self.seen is not None:
            self.seen.apply(scores, rows)
        scores[:, :, ~self.ensemble.query_usable[queries.start : queries.stop]] = np.nan
        scores[..., ~self.ensemble.train_usable[rows.start : rows.stop]] = np.nan
        errors = np.abs(scores[1] - scores[2]) / 2 if len(scores) > 1 else None  # (L, Q, n)
        ranked = ranked_part(scores[0], errors, rows, floors, save_scores=self.plan.save_scores)
        return ranked | self.groups.part(scores[0], rows)
