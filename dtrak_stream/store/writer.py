"""The one thing that writes stores: they are taken up, shards are claimed and written, settled.

Several processes, on one machine or on many that share the folder, may fill the same stores. They
share the work by claims on shards. What makes the result right is something else: a finished shard
is a rename, partial files are unique to their writer, and two writers of one shard write the same
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.store.changing import grow
from dtrak_stream.store.joined_view import write_joined_view
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.quarantine import (
    QuarantinedSample,
    append_quarantine,
    is_in_order,
    read_quarantine,
    settle_quarantine,
)
from dtrak_stream.store.shard import ShardRows, pack_rows, write_shard
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.taking_up import (
    begin_store,
    damaged_shards,
    drop_leftovers,
    refuse_other_run,
    refuse_other_store,
    remove_if_damaged,
)
from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.support.claims import Claims
from dtrak_stream.support.progress import say


class StoreWriter(AbstractContextManager["StoreWriter"]):
    """Brings the stores of one run to completion; use it in a `with` statement.

    Parameters
    ----------
    stores
        What is written: stores that are filled side by side.
    redo_corrupt
        Whether damaged shards are written again, instead of refused.
    visible
        Whether to draw progress bars.
    bad_row
        Why a row with NaN or inf is quarantined, where no other reason is given.
    """

    def __init__(
        self, stores: StoreSet, *, redo_corrupt: bool, visible: bool, bad_row: str
    ) -> None:
        self.stores = stores
        self.visible = visible
        self._redo_corrupt = redo_corrupt
        self._bad_row = bad_row
        self._claims = Claims()
        self._has_written = False

    def __exit__(self, *raised: object) -> None:
        self._claims.__exit__(*raised)

    def take_up(self, is_verified: Callable[[StoreLayout], bool] = lambda _: False) -> list[int]:
        """Refuse what was begun otherwise, is damaged, or is no store; return what is missing.

        Parameters
        ----------
        is_verified
            Whether the shards of a store are known to be whole: they are not read then.

        Raises
        ------
        FingerprintMismatchError
            If it was begun otherwise.
        CorruptFileError
            If a shard is damaged and is not to be written again.
        InputError
            If there is something that is no store.
        """
        for layout in self.stores.layouts:
            refuse_other_store(layout)
            drop_leftovers(layout)
            if not is_verified(layout):
                for shard in damaged_shards(layout, self._redo_corrupt, visible=self.visible):
                    self._remove_damaged(layout, shard)
        self.stores.refuse_foreign_root()
        return self.stores.missing_shards()

    def begin(self) -> None:
        """Write what is not there yet; raises as `take_up` if another run was faster.

        Where images are to be appended to a store, this is the moment at which they are.
        """
        self.stores = replace(self.stores, layouts=tuple(map(_grown, self.stores.layouts)))
        for layout in self.stores.layouts:
            if layout.shards_folder.exists():
                refuse_other_run(layout)
            else:
                with self._claims.alone_with(layout.plan_path):
                    begin_store(layout)
            if layout.missing_shards():
                layout.joined_view_path.unlink(missing_ok=True)  # no longer of the whole store

    @contextmanager
    def run_record(self) -> Iterator[dict[str, Any]]:
        """Let one writer at a time read, and change, what the stores tell of how they are made."""
        with self._claims.alone_with(self.stores.layouts[0].plan_path):
            record = self.stores.run_record()
            before = dict(record)
            yield record
            if record != before:
                self.stores.write_run_record(record)

    def claim_free(self, shards: Iterable[int]) -> Iterator[int]:
        """Yield those of `shards` that nobody finished or works on, each claimed as it comes."""
        return map(_shard, self._claims.take_free(map(self._piece, shards), self._is_done))

    def wait_for_others(
        self, shards: Iterable[int], waiting: Callable[[list[int]], object] = lambda _: None
    ) -> list[int]:
        """Return shards that others gave up, as soon as there are some; none if all are done.

        Parameters
        ----------
        shards
            What was missing.
        waiting
            Told which shards are still waited for, each time that is looked at.
        """
        pieces = self._claims.wait_for_others(
            map(self._piece, shards), self._is_done, lambda left: waiting(list(map(_shard, left)))
        )
        return list(map(_shard, pieces))

    def write(self, rows: ComputedRows) -> None:
        """Write a computed shard into each store that lacks it, and give up the claim on it.

        Raises
        ------
        DiskFullError
            If there is no room; nothing is left under the final name.
        """
        for number, layout in self.stores.without_shard(rows.shard):
            features = self.stores.columns(number, rows.features)
            packed = pack_rows(features, rows.sample_ids, layout.fingerprint.dtype, rows.residual)
            bad = self._quarantined(packed, rows, layout.shard_rows(rows.shard).start)
            if len(bad) == len(rows.sample_ids):
                say(f"every sample of shard {rows.shard} is bad: {bad[0].reason}")
            self._has_written = True
            # ledger before shard: a shard under its final name has all its entries
            if bad:
                with self._claims.alone_with(layout.quarantine_path):
                    append_quarantine(layout.quarantine_path, bad)
            write_shard(layout.shard_path(rows.shard), packed, layout.shard_fingerprint(rows.shard))
        self._claims.release(self._piece(rows.shard))

    def settle(self) -> int:
        """Leave finished stores behind; return the number of samples that some store lacks."""
        bad: set[int] = set()
        for layout in self.stores.layouts:
            # the joined view is written last: where it is, the ledger is in order, but for what
            # a writer added to it that slept until all was done, and then died
            if (
                self._has_written
                or not layout.joined_view_path.exists()
                or not is_in_order(layout.quarantine_path)
            ):
                drop_leftovers(layout)
                with self._claims.alone_with(layout.quarantine_path):
                    settle_quarantine(layout)
                write_joined_view(layout)
            entries = read_quarantine(layout.quarantine_path)
            bad |= {entry.row for entry in entries} - set(layout.removed.rows.tolist())
        return len(bad)

    def _piece(self, shard: int) -> Path:
        """Return what is claimed for a shard of all the stores: its file in the first one."""
        return self.stores.layouts[0].shard_path(shard)

    def _is_done(self, piece: Path) -> bool:
        return not self.stores.without_shard(_shard(piece))

    def _remove_damaged(self, layout: StoreLayout, shard: int) -> None:
        """Remove a damaged shard, unless another process is making it again."""
        with Claims() as claims:
            if claims.take(self._piece(shard)):
                remove_if_damaged(layout, shard)

    def _quarantined(
        self, packed: ShardRows, rows: ComputedRows, first_row: int
    ) -> list[QuarantinedSample]:
        return [
            QuarantinedSample(
                first_row + place, rows.sample_ids[place], rows.reasons.get(place, self._bad_row)
            )
            for place in map(int, np.flatnonzero(packed.scale == 0))
        ]


def _grown(layout: StoreLayout) -> StoreLayout:
    return grow(layout) if layout.history.changes else layout


def _shard(piece: Path) -> int:
    return int(piece.stem)
