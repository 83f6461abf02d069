"""Whether the shards of a run fit on the disk and in memory, before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from dtrak_stream.errors import DiskFullError, MemoryLimitError
from dtrak_stream.memory import format_size, usable_memory
from dtrak_stream.store import Fingerprint, StoreLayout
from dtrak_stream.store.shard import PAGE
from dtrak_stream.store.size import row_bytes, shard_rows


def refuse_what_cannot_fit(layouts: Sequence[StoreLayout], root: object) -> None:
    """Refuse a run whose missing shards, or one of whose shards, cannot fit.

    Parameters
    ----------
    layouts
        Stores that are computed together.
    root
        What the user called the store.

    Raises
    ------
    DiskFullError, MemoryLimitError
        Saying what is needed, what is there, and what to change.
    """
    on_disk = sum(
        len(layout.missing_shards()) * (_stored_bytes(layout) + 4 * PAGE) for layout in layouts
    )
    free = _free_bytes(layouts[0])
    if on_disk > free:
        raise DiskFullError(
            f"{format_size(on_disk)} are needed and {format_size(free)} are free",
            where=root,
            remedy="free some space, or lower --proj-dim or --limit",
        )
    _refuse_large_shards(layouts)


def shard_memory(fingerprint: Fingerprint, stores: int) -> int:
    """Return the bytes of memory of a shard being computed and one being written.

    Of all `stores` that are computed together the features of both; of the one that is written,
    a clean copy, its float64 for the norm, the rows, and the file image twice.
    """
    numbers = shard_rows(fingerprint) * fingerprint.proj_dim
    stored = shard_rows(fingerprint) * row_bytes(fingerprint)
    return stores * numbers * (4 + 4) + numbers * (4 + 8) + 3 * stored


def _refuse_large_shards(layouts: Sequence[StoreLayout]) -> None:
    fingerprint = layouts[0].fingerprint
    in_memory = shard_memory(fingerprint, len(layouts))
    if in_memory > usable_memory():
        raise MemoryLimitError(
            f"a shard of {shard_rows(fingerprint):,} rows needs {format_size(in_memory)} of "
            f"memory, {format_size(usable_memory())} are there",
            where=f"--rows-per-shard {fingerprint.rows_per_shard}",
            remedy="lower --rows-per-shard or --proj-dim",
        )


def _stored_bytes(layout: StoreLayout) -> int:
    return shard_rows(layout.fingerprint) * row_bytes(layout.fingerprint)


def _free_bytes(layout: StoreLayout) -> int:
    root = layout.root.absolute()
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return shutil.disk_usage(there).free
