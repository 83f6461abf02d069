"""Computing the missing shards of a store: decoding, computing and writing side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from dtrak_stream.data.decode_ahead import DecodedBatch, decode_ahead
from dtrak_stream.data.samples import Samples, size_of
from dtrak_stream.errors import InterruptedRunError
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.execution import Execution
from dtrak_stream.featurizing.shard_writer import ComputedRows, ShardWriter
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import UnfinishedShards
from dtrak_stream.support.progress import progress
from dtrak_stream.support.timing import StageTimer, bottleneck

_BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ShardRun:
    """Computes shards.

    Attributes
    ----------
    maker, samples, stores
        What computes, on what, into where.
    execution
        The engine and batch size the maker was set to.
    visible
        Whether to draw a progress bar.
    """

    maker: FeatureMaker
    samples: Samples
    stores: StoreSet
    execution: Execution
    visible: bool

    def run(self, missing: list[int]) -> int:
        """Compute the shards in `missing`; return the number of images they hold.

        Raises
        ------
        InterruptedRunError
            On Ctrl-C, saying what is kept: all rows computed so far.
        DiskFullError
            If a shard cannot be written.
        """
        begun = [self._begin(shard) for shard in missing[:1]]
        to_do = sum(len(self.stores.shard_rows(shard)) for shard in missing)
        settled = len(self.samples) - to_do + sum(rows.done for rows in begun)
        with (
            progress(
                len(self.samples),
                description="featurizing",
                unit="img",
                done=settled,
                visible=self.visible,
            ) as bar,
            ShardWriter(self.stores, self.timer) as writer,
        ):
            self._compute_all(missing, begun, writer, bar)
        return to_do

    @property
    def timer(self) -> StageTimer:
        """Return what adds up the time of all stages."""
        return self.maker.timer

    def _compute_all(
        self, missing: list[int], begun: list[ComputedRows], writer: ShardWriter, bar: tqdm[None]
    ) -> None:
        current = begun.pop()
        batches = decode_ahead(self.samples, self._batches(missing, current.done), self.timer)
        try:
            if current.is_whole:
                writer.submit(current)
            for batch in batches:
                if batch.rows.start >= self.stores.shard_rows(current.shard).stop:
                    current = self._begin(missing[missing.index(current.shard) + 1])
                self._fill(current, batch)
                bar.update(len(batch.rows))
                if current.is_whole:
                    writer.submit(current)
                bar.set_postfix_str(self._state(writer), refresh=False)
            writer.wait()
        except KeyboardInterrupt as interrupt:
            batches.close()
            raise self._interrupted(current, writer) from interrupt
        bar.set_postfix_str(self._state(writer))

    def _batches(self, missing: list[int], done: int) -> Iterator[range]:
        """Yield the rows of each batch; batches never span two shards."""
        for shard in missing:
            rows = self.stores.shard_rows(shard)
            for start in range(rows.start + done, rows.stop, self._batch_size):
                yield range(start, min(start + self._batch_size, rows.stop))
            done = 0

    @cached_property
    def _batch_size(self) -> int:
        sample_bytes = 4 * math.prod(size_of(self.samples))
        return max(1, min(self.execution.batch_size, _BATCH_BYTES // sample_bytes))

    @property
    def _has_residuals(self) -> bool:
        return self.stores.layouts[0].fingerprint.has_residuals

    @cached_property
    def _unfinished(self) -> UnfinishedShards:
        return UnfinishedShards(self.stores.layouts[0], self.execution.numerics())

    def _begin(self, shard: int) -> ComputedRows:
        """Return the rows of a shard, empty or as an interrupted run left them."""
        places = self.stores.shard_rows(shard)
        shape = (len(places), self.maker.width)
        ids = self.samples.sample_ids(places.start, places.stop)
        residual = np.zeros(len(places), np.float32) if self._has_residuals else None
        rows = ComputedRows(shard, np.full(shape, np.nan, np.float32), ids, residual)
        self._unfinished.restore(rows)
        return rows

    def _fill(self, rows: ComputedRows, batch: DecodedBatch) -> None:
        first = self.stores.shard_rows(rows.shard).start
        if len(batch.samples):
            places = [row - first for row in batch.places]
            features = self.maker.features(batch.samples).numpy()
            rows.features[places] = features  # (places, width)
            residual = self.maker.residuals(batch.samples)
            if rows.residual is not None and residual is not None:
                rows.residual[places] = residual.numpy()  # (places,)
        rows.reasons.update({row - first: why for row, why in batch.reasons.items()})
        rows.done = batch.rows.stop - first

    def _state(self, writer: ShardWriter) -> str:
        shards = f"shards {writer.finished}/{self.stores.num_shards}"
        slowest = bottleneck(self.timer.seconds())
        return f"{shards}, slowest: {slowest}" if slowest else shards

    def _interrupted(self, current: ComputedRows, writer: ShardWriter) -> InterruptedRunError:
        writer.wait()
        written = not self.stores.without_shard(current.shard)
        kept = 0 if written else current.done
        if kept:
            self._unfinished.keep(current)
        return InterruptedRunError(
            f"{writer.finished} of {self.stores.num_shards} shards of {self.stores.root}"
            f"{f' and {kept} rows of the next' if kept else ''} are done and kept"
        )
