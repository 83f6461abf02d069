"""Whether the shards of a run fit on the disk and in memory, before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from dtrak_stream.errors import DiskFullError, MemoryLimitError
from dtrak_stream.memory import format_size, usable_memory
from dtrak_stream.store import StoreLayout
from dtrak_stream.store.size import bytes_on_disk, bytes_while_written, shard_rows


@dataclass(frozen=True)
class RoomAdvice:
    """What a user can lower where room is short.

    Attributes
    ----------
    disk
        For fewer bytes on disk.
    memory
        For fewer bytes of memory.
    """

    disk: str = "lower --proj-dim or --limit"
    memory: str = "lower --rows-per-shard or --proj-dim"


def refuse_what_cannot_fit(
    layouts: Sequence[StoreLayout],
    root: object,
    *,
    bytes_per_number: int,
    advice: RoomAdvice | None = None,
) -> None:
    """Refuse a run whose missing shards, or one of whose shards, cannot fit.

    Parameters
    ----------
    layouts
        Stores that are filled together.
    root
        What the user called the store.
    bytes_per_number
        Memory for each number of a shard, besides what packing and writing it takes.
    advice
        What to lower.

    Raises
    ------
    DiskFullError, MemoryLimitError
        Saying what is needed, what is there, and what to change.
    """
    advice = advice or RoomAdvice()
    missing = [len(layout.missing_shards()) for layout in layouts]
    on_disk = sum(
        bytes_on_disk(layout.fingerprint, shards)
        for layout, shards in zip(layouts, missing, strict=True)
    )
    free = _free_bytes(layouts[0])
    if on_disk > free:
        raise DiskFullError(
            f"{format_size(on_disk)} are needed and {format_size(free)} are free",
            where=root,
            remedy=f"free some space, or {advice.disk}",
        )
    fingerprint = layouts[0].fingerprint
    rows = shard_rows(fingerprint)
    in_memory = bytes_while_written(fingerprint) + rows * fingerprint.proj_dim * bytes_per_number
    if any(missing) and in_memory > usable_memory():
        raise MemoryLimitError(
            f"a shard of {rows:,} rows needs {format_size(in_memory)} of memory, "
            f"{format_size(usable_memory())} are there",
            where=f"--rows-per-shard {fingerprint.rows_per_shard}",
            remedy=advice.memory,
        )


def _free_bytes(layout: StoreLayout) -> int:
    root = layout.root.absolute()
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return shutil.disk_usage(there).free
