"""Whether the shards of a run fit on the disk and in memory, before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from dtrak_stream.errors import DiskFullError, MemoryLimitError
from dtrak_stream.store import Fingerprint, StoreLayout
from dtrak_stream.store.size import bytes_on_disk, bytes_while_written, shard_rows
from dtrak_stream.support.memory import format_size, usable_memory


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
    shard_bytes: int,
    advice: RoomAdvice | None = None,
) -> None:
    """Refuse a run whose missing shards, or one of whose shards, cannot fit.

    Parameters
    ----------
    layouts
        Stores that are filled together.
    root
        What the user called the store.
    shard_bytes
        Memory that a shard takes until it is written.
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
    if any(missing) and shard_bytes > usable_memory():
        raise MemoryLimitError(
            f"a shard of {shard_rows(fingerprint):,} rows needs {format_size(shard_bytes)} of "
            f"memory, {format_size(usable_memory())} are there",
            where=f"--rows-per-shard {fingerprint.rows_per_shard}",
            remedy=advice.memory,
        )


def shard_memory(fingerprint: Fingerprint, stores: int) -> int:
    """Return the bytes of memory of a shard being computed and one being written.

    Of all `stores` that are computed together the features of both; of the one that is written,
    all that writing takes.
    """
    numbers = shard_rows(fingerprint) * fingerprint.proj_dim
    return bytes_while_written(fingerprint) + (2 * stores - 1) * 4 * numbers


def _free_bytes(layout: StoreLayout) -> int:
    root = layout.root.absolute()
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return shutil.disk_usage(there).free
