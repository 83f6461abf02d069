"""Packing and writing finished shards beside the computation of the next one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np

from dtrak_stream.store import (
    QuarantinedSample,
    ShardRows,
    StoreLayout,
    append_quarantine,
    pack_rows,
    write_shard,
)
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.support.progress import say
from dtrak_stream.support.timing import StageTimer

_BAD_GRADIENT = "its gradient holds NaN or inf"


@dataclass
class ComputedRows:
    """Rows of one shard as they are filled in.

    Attributes
    ----------
    shard
        Its number.
    features
        (rows, width) float32, the features of all stores side by side; NaN until computed, and
        for samples without one.
    sample_ids
        Ids of all rows.
    residual
        (rows,) float32, for stores that keep residuals.
    reasons
        Why an image could not be read, by its place in the shard.
    done
        Rows that are settled.
    """

    shard: int
    features: FloatArray
    sample_ids: list[str]
    residual: FloatArray | None = None
    reasons: dict[int, str] = field(default_factory=dict)
    done: int = 0

    @property
    def is_whole(self) -> bool:
        """Return whether all rows are settled."""
        return self.done == len(self.sample_ids)


class ShardWriter:
    """Writes one shard at a time in a thread of its own; use it in a `with` statement.

    Parameters
    ----------
    stores
        Where shards go.
    timer
        Told how long writing takes.
    """

    def __init__(self, stores: StoreSet, timer: StageTimer) -> None:
        self.finished = stores.num_shards - len(stores.missing_shards())
        self._stores = stores
        self._timer = timer
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._writing: Future[None] | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)

    def submit(self, rows: ComputedRows) -> None:
        """Hand over a computed shard; waits for the one before.

        Raises
        ------
        DiskFullError
            If the shard before could not be written.
        """
        self.wait()
        self._writing = self._pool.submit(self._write, rows)

    def wait(self) -> None:
        """Return when everything handed over is on disk; raises as `submit`."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
            self.finished += 1

    def _write(self, rows: ComputedRows) -> None:
        with self._timer.beside("write"):
            for number, layout in self._stores.without_shard(rows.shard):
                features = self._stores.columns(number, rows.features)
                _write_one(layout, rows, features)


def _write_one(layout: StoreLayout, rows: ComputedRows, features: FloatArray) -> None:
    dtype = layout.fingerprint.dtype
    packed = pack_rows(features, rows.sample_ids, dtype, rows.residual)
    bad = _quarantined(packed, rows, layout.shard_rows(rows.shard).start)
    if len(bad) == len(rows.sample_ids):
        say(f"every sample of shard {rows.shard} is bad: {bad[0].reason}")
    # ledger before shard: a crash in between leaves entries that the next start drops
    append_quarantine(layout.quarantine_path, bad)
    write_shard(layout.shard_path(rows.shard), packed, layout.fingerprint.hash())


def _quarantined(packed: ShardRows, rows: ComputedRows, first_row: int) -> list[QuarantinedSample]:
    places = [int(place) for place in np.flatnonzero(packed.scale == 0)]
    reasons = rows.reasons
    return [
        QuarantinedSample(
            first_row + place, rows.sample_ids[place], reasons.get(place, _BAD_GRADIENT)
        )
        for place in places
    ]
