"""A store that imported features go into: begun, continued, finished."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtrak_stream.durable import PARTIAL_SUFFIX, remove_partials, write_json
from dtrak_stream.errors import CorruptFileError, DiskFullError, InputError, MemoryLimitError
from dtrak_stream.memory import format_size, usable_memory
from dtrak_stream.progress import progress, say
from dtrak_stream.store import (
    QuarantinedSample,
    StoreLayout,
    append_quarantine,
    keep_quarantine,
    pack_rows,
    read_layout,
    read_quarantine,
    read_shard,
    write_joined_view,
    write_shard,
)
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.store.size import bytes_on_disk, bytes_while_written, shard_rows

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
            read_layout(layout.root).fingerprint.refuse_other_run(
                layout.fingerprint, where=layout.root
            )
            remove_partials(layout.root)
            remove_partials(layout.shards_folder)
            self._check_finished_shards()
        else:
            self._refuse_foreign_folder()
        missing = layout.missing_shards()
        self._refuse_what_cannot_fit(len(missing))
        if not layout.plan_path.exists():
            write_json(layout.plan_path, layout.plan())
        layout.shards_folder.mkdir(exist_ok=True)
        self._forget_quarantine_of(set(missing))
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
        entries = sorted(read_quarantine(self.layout.quarantine_path), key=lambda entry: entry.row)
        keep_quarantine(self.layout.quarantine_path, entries)
        write_joined_view(self.layout)
        return len(entries)

    def _check_finished_shards(self) -> None:
        layout = self.layout
        missing = set(layout.missing_shards())
        finished = [shard for shard in range(layout.num_shards) if shard not in missing]
        with progress(
            len(finished), description="checking shards", unit="shard", visible=self.visible
        ) as bar:
            for shard in finished:
                try:
                    read_shard(layout.shard_path(shard), layout.fingerprint.hash())
                except CorruptFileError as error:
                    if not self.redo_corrupt:
                        remedy = "run the same command with --redo-corrupt to write it again"
                        raise CorruptFileError(
                            error.what, where=error.where, remedy=remedy
                        ) from error
                    say(f"{error.where}: {error.what}; writing it again")
                    layout.shard_path(shard).unlink()
                bar.update()

    def _refuse_foreign_folder(self) -> None:
        root = self.layout.root
        leftover = self.layout.plan_path.with_name(self.layout.plan_path.name + PARTIAL_SUFFIX)
        if root.exists() and not (root.is_dir() and set(root.iterdir()) <= {leftover}):
            raise InputError(
                "not empty and not a feature store" if root.is_dir() else "not a folder",
                where=root,
                remedy="give a new or empty folder as --store",
            )

    def _refuse_what_cannot_fit(self, missing: int) -> None:
        fingerprint = self.layout.fingerprint
        root = self.layout.root.absolute()
        there = next(folder for folder in (root, *root.parents) if folder.is_dir())
        free, on_disk = shutil.disk_usage(there).free, bytes_on_disk(fingerprint, missing)
        if on_disk > free:
            raise DiskFullError(
                f"{format_size(on_disk)} are needed and {format_size(free)} are free",
                where=root,
                remedy="free some space, or lower --used-dim, or store --dtype float16",
            )
        # besides what packing takes: a shard as read, and scaled, in float64
        rows = shard_rows(fingerprint)
        in_memory = bytes_while_written(fingerprint) + rows * fingerprint.proj_dim * (8 + 8)
        if missing and in_memory > usable_memory():
            raise MemoryLimitError(
                f"a shard of {rows:,} rows needs {format_size(in_memory)} of memory, "
                f"{format_size(usable_memory())} are there",
                where=f"--rows-per-shard {fingerprint.rows_per_shard}",
                remedy="lower --rows-per-shard or --used-dim",
            )

    def _forget_quarantine_of(self, shards: set[int]) -> None:
        path, rows_per_shard = self.layout.quarantine_path, self.layout.fingerprint.rows_per_shard
        entries = read_quarantine(path)
        keep_quarantine(path, [e for e in entries if e.row // rows_per_shard not in shards])
