"""A store that imported features go into: begun, continued, finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtrak_stream.store import (
    Fingerprint,
    QuarantinedSample,
    StoreLayout,
    append_quarantine,
    pack_rows,
    write_joined_view,
    write_shard,
)
from dtrak_stream.store.room import (
    RoomAdvice,
    bytes_while_written,
    refuse_what_cannot_fit,
    shard_rows,
)
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.store.upkeep import (
    begin_store,
    continue_store,
    forget_quarantine_of,
    refuse_foreign_folder,
    settle_quarantine,
)

_ADVICE = RoomAdvice(
    disk="lower --used-dim, or store --dtype float16",
    memory="lower --rows-per-shard or --used-dim",
)
_BAD_ROW = "its imported feature holds NaN or inf"


@dataclass(frozen=True)
class Destination:
    """The store to write.

    Attributes
    ----------
    layout
        Where it is, and its fingerprint.
    redo_corrupt
        Whether damaged shards are written again.
    visible
        Whether to draw progress bars.
    """

    layout: StoreLayout
    redo_corrupt: bool
    visible: bool

    def take_up(self) -> list[int]:
        """Begin the store, or go on with it; return the shards that are missing.

        Raises
        ------
        FingerprintMismatchError
            If it is a store of something else.
        InputError
            If there is something that is no store.
        CorruptFileError
            If a shard is damaged and is not to be written again.
        DiskFullError, MemoryLimitError
            If the missing shards, or one of them in memory, cannot fit.
        """
        layout = self.layout
        if layout.plan_path.exists():
            continue_store(layout, redo_corrupt=self.redo_corrupt, visible=self.visible)
        else:
            refuse_foreign_folder(layout)
        refuse_what_cannot_fit(
            [layout], layout.root, shard_bytes=_shard_bytes(layout.fingerprint), advice=_ADVICE
        )
        missing = layout.missing_shards()
        begin_store(layout)
        forget_quarantine_of(layout, missing)
        return missing

    def write(self, shard: int, features: FloatArray, ids: Sequence[str]) -> None:
        """Write one shard: features (rows, k); rows with NaN or inf are quarantined."""
        layout = self.layout
        packed = pack_rows(features, ids, layout.fingerprint.dtype)
        first = layout.shard_rows(shard).start
        bad = [
            QuarantinedSample(first + place, ids[place], _BAD_ROW)
            for place in map(int, np.flatnonzero(packed.scale == 0))
        ]
        # ledger before shard: a crash in between leaves entries that the next start drops
        append_quarantine(layout.quarantine_path, bad)
        write_shard(layout.shard_path(shard), packed, layout.fingerprint.hash())

    def finish(self) -> int:
        """Order the ledger, write the joined view; return the number of quarantined samples."""
        rows = settle_quarantine(self.layout)
        write_joined_view(self.layout)
        return len(rows)


def _shard_bytes(fingerprint: Fingerprint) -> int:
    """Return the memory of a shard as read, and scaled, in float64, and of writing it."""
    numbers = shard_rows(fingerprint) * fingerprint.proj_dim
    return bytes_while_written(fingerprint) + numbers * (8 + 8)
