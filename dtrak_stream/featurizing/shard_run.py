"""Computing the missing shards of a store: decoding, computing and writing side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dtrak_stream.data.decode_ahead import DecodedBatch, decode_ahead
from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import InterruptedRunError
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.background_writes import BackgroundWrites
from dtrak_stream.featurizing.execution import Execution
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import ComputedRows, UnfinishedShards
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.progress import Bar, progress
from dtrak_stream.support.stopping import stop_wanted
from dtrak_stream.support.timing import StageTimer, bottleneck


@dataclass
class ShardRun:
    """Computes shards, those that no other writer of the same store computes.

    Attributes
    ----------
    maker, samples, writer
        What computes, on what, into where.
    execution
        The engine and batch size the maker was set to.
    waits
        Whether shards of other writers are waited for.
    zero_rows
        How many features of each finished shard are zero throughout.
    """

    maker: FeatureMaker
    samples: Samples
    writer: StoreWriter
    execution: Execution
    waits: bool = True
    zero_rows: dict[int, int] = field(default_factory=dict)
    _begun: dict[int, ComputedRows] = field(default_factory=dict)
    _computed: int = 0
    _finished_before: int = 0

    def run(self, missing: list[int]) -> int:
        """Compute the shards in `missing`; return the number of images this call computed.

        If it waits, it returns when none is missing any more, whoever computed it: those of other
        writers are waited for, and taken over where a writer died.

        Raises
        ------
        InterruptedRunError
            On Ctrl-C, or when it is told to stop, saying what is kept: all rows computed so far.
        DiskFullError
            If a shard cannot be written.
        """
        to_do = sum(len(self.stores.shard_rows(shard)) for shard in missing)
        self._finished_before = self.stores.num_shards - len(missing)
        with (
            progress(
                len(self.samples),
                description="featurizing",
                unit="img",
                done=len(self.samples) - to_do,
                visible=self.writer.visible,
            ) as bar,
            BackgroundWrites(self.writer, self.timer) as writes,
        ):
            self._compute_all(missing, writes, bar)
        return self._computed

    @property
    def timer(self) -> StageTimer:
        """Return what adds up the time of all stages."""
        return self.maker.timer

    @property
    def stores(self) -> StoreSet:
        """Return what is filled."""
        return self.writer.stores

    def _compute_all(self, missing: list[int], writes: BackgroundWrites, bar: Bar) -> None:
        def waiting(shards: list[int]) -> None:
            bar.n = len(self.samples) - sum(len(self.stores.shard_rows(s)) for s in shards)
            bar.set_postfix_str(f"waiting for {len(shards)} shards of other processes")

        free = missing
        try:
            while free:
                self._compute_free(free, writes, bar)
                free = self.writer.wait_for_others(missing, waiting) if self.waits else []
        except KeyboardInterrupt as interrupt:
            raise self._interrupted(writes) from interrupt
        bar.n = len(self.samples)
        bar.set_postfix_str(self._state(writes))

    def _compute_free(self, shards: list[int], writes: BackgroundWrites, bar: Bar) -> None:
        claimed = self._claimed(shards, writes, bar)
        batches = decode_ahead(self.samples, self._batches(claimed), self.timer)
        try:
            for batch in batches:
                self._add(batch, writes)
                if stop_wanted():
                    raise KeyboardInterrupt
                bar.update(len(batch.rows))
                bar.set_postfix_str(self._state(writes), refresh=False)
            writes.wait()
        finally:
            batches.close()

    def _claimed(self, shards: list[int], writes: BackgroundWrites, bar: Bar) -> Iterator[range]:
        """Yield the places still to compute of each shard that is ours, as Ctrl-C left it."""
        for shard in self.writer.claim_free(shards):
            places = self.stores.shard_rows(shard)
            self._computed += len(places)
            done = 0
            if self._unfinished.has_rows(shard):  # others need no memory before their first batch
                rows = self._begun[shard] = self._begin(shard)
                done = rows.done
                bar.update(done)
                if rows.is_whole:
                    self._finish(shard, writes)
            yield places[done:]

    def _batches(self, claimed: Iterable[range]) -> Iterator[range]:
        """Yield the places of each batch; batches never span two shards."""
        for places in claimed:
            for start in range(0, len(places), self._batch_size):
                yield places[start : start + self._batch_size]

    @cached_property
    def _batch_size(self) -> int:
        return self.execution.rows_at_a_time(self.samples)

    @property
    def _has_residuals(self) -> bool:
        return self.stores.layouts[0].fingerprint.has_residuals

    @cached_property
    def _unfinished(self) -> UnfinishedShards:
        return UnfinishedShards(self.stores.layouts[0], self.execution.numerics())

    def _begin(self, shard: int) -> ComputedRows:
        places = self.stores.shard_rows(shard)
        shape = (len(places), self.maker.width)
        ids = self.samples.sample_ids(places.start, places.stop)
        residual = np.zeros(len(places), np.float32) if self._has_residuals else None
        rows = ComputedRows(shard, np.full(shape, np.nan, np.float32), ids, residual)
        self._unfinished.restore(rows)
        return rows

    def _add(self, batch: DecodedBatch, writes: BackgroundWrites) -> None:
        (shard,) = self.stores.layouts[0].shards_of(batch.rows)
        rows = self._begun.get(shard) or self._begun.setdefault(shard, self._begin(shard))
        self._fill(rows, batch)
        if rows.is_whole:
            self._finish(shard, writes)

    def _finish(self, shard: int, writes: BackgroundWrites) -> None:
        rows = self._begun.pop(shard)
        self.zero_rows[shard] = int((rows.features == 0).all(axis=1).sum())
        writes.submit(rows)

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

    def _state(self, writes: BackgroundWrites) -> str:
        shards = f"shards {self._finished_before + writes.finished}/{self.stores.num_shards}"
        slowest = bottleneck(self.timer.seconds())
        return f"{shards}, slowest: {slowest}" if slowest else shards

    def _interrupted(self, writes: BackgroundWrites) -> InterruptedRunError:
        writes.wait()
        kept = 0
        for rows in self._begun.values():
            if rows.done and self.stores.without_shard(rows.shard):
                self._unfinished.keep(rows)
                kept += rows.done
        return InterruptedRunError(
            f"{self.stores.progress}{f' and {kept} rows of the next' if kept else ''} "
            "are done and kept"
        )
