"""Whether the shards of a run fit on the disk and in memory, before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np

from dtrak_stream.errors import DiskFullError, MemoryLimitError
from dtrak_stream.memory import format_size, usable_memory
from dtrak_stream.store import StoreLayout
from dtrak_stream.store.shard import PAGE


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


def _refuse_large_shards(layouts: Sequence[StoreLayout]) -> None:
    layout = layouts[0]
    rows, numbers = _rows(layout), _rows(layout) * layout.fingerprint.proj_dim
    # the shard being computed and the one being written, of all stores; of the store that is
    # written, a clean copy, its float64 for the norm, the rows, the file image
    in_memory = len(layouts) * numbers * (4 + 4) + numbers * (4 + 8) + 3 * _stored_bytes(layout)
    if in_memory > usable_memory():
        raise MemoryLimitError(
            f"a shard of {rows:,} rows needs {format_size(in_memory)} of memory, "
            f"{format_size(usable_memory())} are there",
            where=f"--rows-per-shard {layout.fingerprint.rows_per_shard}",
            remedy="lower --rows-per-shard or --proj-dim",
        )


def _rows(layout: StoreLayout) -> int:
    return min(layout.fingerprint.rows_per_shard, layout.fingerprint.samples)


def _stored_bytes(layout: StoreLayout) -> int:
    fingerprint = layout.fingerprint
    return _rows(layout) * fingerprint.proj_dim * np.dtype(fingerprint.dtype).itemsize


def _free_bytes(layout: StoreLayout) -> int:
    root = layout.root.absolute()
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return shutil.disk_usage(there).free
