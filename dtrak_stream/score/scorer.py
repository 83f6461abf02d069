"""Scores block by block: computed, transformed, ranked, kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.checkpoints import Checkpoints
from dtrak_stream.groups import GroupSums
from dtrak_stream.progress import progress
from dtrak_stream.score.blocks import ScoreBlocks
from dtrak_stream.score.kernel_choice import ChosenKernel
from dtrak_stream.score.options import ScoreOptions
from dtrak_stream.score.plan import ScorePlan
from dtrak_stream.score.top import RunningTop
from dtrak_stream.store import FeatureStore
from dtrak_stream.store.shard import FloatArray


@dataclass(frozen=True)
class Scorer:
    """Scores one query store against one training store.

    Attributes
    ----------
    train, query
        The two stores.
    plan
        How the work is cut.
    options
        What is done to scores, and how long lists are.
    groups
        What sums scores per group of training samples.
    """

    train: FeatureStore
    query: FeatureStore
    plan: ScorePlan
    options: ScoreOptions
    groups: GroupSums

    @property
    def top_k(self) -> int:
        """Return the length of the lists of each query."""
        return min(self.options.top_k, len(self.train))

    def columns(self, shard_block: int) -> range:
        """Return the training rows of a block of shards."""
        shards = self.plan.shards[shard_block]
        layout = self.train.layout
        return range(layout.shard_rows(shards[0]).start, layout.shard_rows(shards[-1]).stop)

    def score_missing(
        self, kernel: ChosenKernel, checkpoints: Checkpoints, *, visible: bool
    ) -> int:
        """Score every block that is not kept yet, whole; return how many those were."""
        done = {name for name in checkpoints.names() if checkpoints.load(name) is not None}
        missing = [part for part in self.plan.parts() if part[2] not in done]
        with progress(
            len(done) + len(missing),
            description="scoring",
            unit="block",
            done=len(done),
            visible=visible,
        ) as bar:
            blocks: dict[int, ScoreBlocks] = {}
            for q, s, name in missing:
                if q not in blocks:
                    queries = self.query.rows(self.plan.queries[q])
                    blocks = {q: kernel.score_blocks(queries, self.train)}
                scores = self._finished(blocks[q].of_shards(self.plan.shards[s]), q, s)
                checkpoints.save(name, **self._part(scores, self.columns(s)))
                bar.update()
        return len(missing)

    def _finished(self, tau: FloatArray, q: int, s: int) -> FloatArray:
        """Transform tau (Q, n); what belongs to a quarantined sample becomes NaN."""
        scores = np.square(tau) if self.options.transform == "square" else tau
        queries = self.plan.queries[q]
        scores[~self.query.usable()[queries.start : queries.stop]] = np.nan
        columns = self.columns(s)
        scores[:, ~self.train.usable()[columns.start : columns.stop]] = np.nan
        return scores

    def _part(self, scores: FloatArray, columns: range) -> dict[str, NDArray[np.generic]]:
        top = RunningTop(len(scores), self.top_k)
        bottom = RunningTop(len(scores), self.top_k)
        index = np.arange(columns.start, columns.stop)
        top.update(scores, index)
        bottom.update(-scores, index)
        part: dict[str, NDArray[np.generic]] = {
            "top_index": top.index,
            "top_score": top.scores,
            "bottom_index": bottom.index,
            "bottom_score": bottom.scores,
            **self.groups.part(scores, columns),
        }
        return part | {"scores": scores} if self.plan.save_scores else part
