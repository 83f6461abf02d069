"""Scores block by block: computed, averaged, transformed, ranked, kept."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dtrak_stream.groups.sums import GroupSums
from dtrak_stream.kernel.damping import DampingChoice
from dtrak_stream.methods import Method
from dtrak_stream.scoring.blocks import Products
from dtrak_stream.scoring.ensemble import Ensemble
from dtrak_stream.scoring.members import Member, MemberScores, member_scores
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.scoring.plan import ScorePlan
from dtrak_stream.scoring.rankings import ranked_part
from dtrak_stream.scoring.sums import Part, PartSums
from dtrak_stream.scoring.transforms import Transform
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
    method, transform
        How features become scores, and what is done to their mean.
    choices
        The lambdas asked for; none for a method without a kernel.
    several
        Whether a list of lambdas was asked for.
    groups
        What sums scores per group of training samples.
    products
        How features are multiplied.
    """

    ensemble: Ensemble
    members: tuple[Member, ...]
    plan: ScorePlan
    options: ScoreOptions
    method: Method
    transform: Transform
    choices: tuple[DampingChoice, ...]
    several: bool
    groups: GroupSums
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
    def variants(self) -> int:
        """Return V, the number of averages: 1, or 3 with error bars."""
        return 1 + max(member.variant for member in self.members)

    def score_missing(self, checkpoints: Checkpoints, *, visible: bool) -> int:
        """Score every block that is not kept yet, whole; return how many those were.

        With several members, a block counts once for each.
        """
        sums = PartSums(checkpoints, len(self.members), self.variants)
        parts = list(self.plan.parts())
        done = sums.done([name for _, _, name in parts])
        total = len(parts) * len(self.members)
        before = sum(done.values())
        with progress(
            total, description="scoring", unit="block", done=before, visible=visible
        ) as bar:
            for number, member in enumerate(self.members):
                missing = [part for part in parts if done[part[2]] == number]
                if missing or not self._is_told(member, checkpoints):
                    for name in self._add_member(number, missing, sums, visible=visible):
                        done[name] += 1
                        bar.update()
        return total - before

    def _add_member(
        self, number: int, missing: list[tuple[int, int, str]], sums: PartSums, *, visible: bool
    ) -> Iterator[str]:
        """Add one member to blocks, and yield their names; its kernel is gone afterwards."""
        member = self.members[number]
        scores = self._scores_of(member, sums.checkpoints, visible=visible)
        for q, of_block in itertools.groupby(missing, key=operator.itemgetter(0)):
            steps = list(of_block)
            blocks = scores.blocks(self.plan.queries[q])
            taus = blocks.of_parts([self.plan.rows[r] for _, r, _ in steps])
            for (_, r, name), tau in zip(steps, taus, strict=True):
                weighted = self._weighted(member, scores, tau, r, sums.checkpoints)
                self._keep(sums, name, number, weighted, q, r)
                yield name
            del blocks, taus  # before the next are made: only one has room

    def _is_told(self, member: Member, checkpoints: Checkpoints) -> bool:
        needed = member.model.gram is not None and member.variant == 0
        return not needed or checkpoints.load(member.facts_name) is not None

    def _scores_of(
        self, member: Member, checkpoints: Checkpoints, *, visible: bool
    ) -> MemberScores:
        return member_scores(
            member,
            self.method,
            self.transform,
            self.choices,
            self.plan.solver,
            checkpoints,
            self.products,
            visible=visible,
        )

    def _weighted(
        self,
        member: Member,
        scores: MemberScores,
        tau: FloatArray,
        r: int,
        checkpoints: Checkpoints,
    ) -> FloatArray:
        """Return the scores tau (L, Q, n) of a block by one member, as they enter the average."""
        rows = self.plan.rows[r]
        name = f"factors-{member.variant}-{member.number:05d}-{r:06d}"
        factors = scores.factors(rows, name, checkpoints)
        if factors is not None:
            tau *= factors[:, None]
        tau = self.transform.each(tau)
        if member.model.weight != 1:
            tau *= np.float32(member.model.weight)
        return tau

    def _keep(self, sums: PartSums, name: str, done: int, tau: FloatArray, q: int, r: int) -> None:
        total = sums.add(name, done, self.members[done].variant, tau)
        if done + 1 < len(self.members):
            sums.keep_sums(name, done + 1, total)
        else:
            sums.keep_finished(name, self._finished(total, q, r))

    def _finished(self, averages: FloatArray, q: int, r: int) -> Part:
        """Transform averages (V, L, Q, n), drop quarantined samples, and rank."""
        queries, rows = self.plan.queries[q], self.plan.rows[r]
        scores = self.transform.mean(averages)
        scores[:, :, ~self.ensemble.query_usable[queries.start : queries.stop]] = np.nan
        scores[..., ~self.ensemble.train_usable[rows.start : rows.stop]] = np.nan
        errors = np.abs(scores[1] - scores[2]) / 2 if len(scores) > 1 else None  # (L, Q, n)
        ranked = ranked_part(scores[0], errors, rows, self.top_k, save_scores=self.plan.save_scores)
        return ranked | self.groups.part(scores[0], rows)
