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
from dtrak_stream.scoring.list_floors import ListFloors
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.scoring.plan import ScorePlan
from dtrak_stream.scoring.rankings import ranked_part
from dtrak_stream.scoring.seen_images import SeenImages
from dtrak_stream.scoring.sums import Part, Sums
from dtrak_stream.scoring.term_scores import TermScores, term_scores
from dtrak_stream.scoring.terms import Term, Terms
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.progress import progress


@dataclass(frozen=True)
class Scorer:
    """Scores one set of queries against one training set.

    Attributes
    ----------
    terms
        What scores add up, halves for error bars among them.
    plan
        How the work is cut.
    options
        How long lists are.
    method, streams
        How features become scores, and the streams of the sum that they are.
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

    terms: Terms
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
        return self.terms.first.train

    @property
    def query(self) -> FeatureStore:
        """Return the query store that ids are taken from."""
        return self.terms.first.query

    @property
    def top_k(self) -> int:
        """Return the length of the lists of each query."""
        return min(self.options.top_k, len(self.train))

    @property
    def lambdas(self) -> int:
        """Return L, the number of lambdas, 1 without a kernel."""
        return max(1, len(self.choices))

    def score_missing(self, checkpoints: Checkpoints, *, visible: bool) -> int:
        """Score every block that is not kept yet, whole; return how many those were.

        With several terms, a block counts once for each.
        """
        sums = Sums(self.terms, self.streams, checkpoints)
        parts = list(self.plan.parts())
        done = sums.done([name for _, _, name in parts])
        total = len(parts) * len(self.terms.each)
        before = sum(done.values())
        with progress(
            total, description="scoring", unit="block", done=before, visible=visible
        ) as bar:
            for number, term in enumerate(self.terms.each):
                missing = [part for part in parts if done[part[2]] == number]
                if missing or not self._is_told(term, sums):
                    for name in self._add_term(number, missing, sums, visible=visible):
                        done[name] += 1
                        bar.update()
        return total - before

    def _add_term(
        self, number: int, missing: list[tuple[int, int, str]], sums: Sums, *, visible: bool
    ) -> Iterator[str]:
        """Add one term to blocks, and yield their names; its kernel is gone afterwards."""
        term = self.terms.each[number]
        scores = self._scores_of(term, sums, visible=visible)
        if sums.scales.lack(term):
            sums.scales.add(term, scores)
        for q, of_block in itertools.groupby(missing, key=operator.itemgetter(0)):
            steps = list(of_block)
            floors = ListFloors(self.lambdas, len(self.plan.queries[q]), self.top_k)
            of_rows = scores.of([self.plan.queries[q]], [self.plan.rows[r] for _, r, _ in steps])
            for (_, r, name), found in zip(steps, of_rows, strict=True):
                total = sums.add(name, number, found)
                if total is not None:
                    sums.keep_finished(name, self._finished(total, q, r, floors))
                yield name
            del of_rows  # before the next are made: only one block has room

    def _is_told(self, term: Term, sums: Sums) -> bool:
        if term.variant:
            return True
        told = term.gram is None or sums.checkpoints.load(term.facts_name) is not None
        return told and not sums.scales.lack(term)

    def _scores_of(self, term: Term, sums: Sums, *, visible: bool) -> TermScores:
        return term_scores(
            term,
            self.method,
            sums.transform_of(term).of_freedom(self.freedom),
            self.choices,
            self.plan.solver,
            sums.checkpoints,
            self.products,
            visible=visible,
        )

    def _finished(self, scores: FloatArray, q: int, r: int, floors: ListFloors) -> Part:
        """Drop samples from the sums (V, L, Q, n) of all streams that have no score, and rank."""
        queries, rows = self.plan.queries[q], self.plan.rows[r]
        if self.seen is not None:
            self.seen.apply(scores, rows)
        scores[:, :, ~self.terms.query_usable[queries.start : queries.stop]] = np.nan
        scores[..., ~self.terms.train_usable[rows.start : rows.stop]] = np.nan
        errors = np.abs(scores[1] - scores[2]) / 2 if len(scores) > 1 else None  # (L, Q, n)
        ranked = ranked_part(scores[0], errors, rows, floors, save_scores=self.plan.save_scores)
        return ranked | self.groups.part(scores[0], rows)
