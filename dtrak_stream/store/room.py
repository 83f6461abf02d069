"""How much room a store takes, and whether that is there before a run begins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtrak_stream.errors import DiskFullError, MemoryLimitError
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.shard import PAGE
from dtrak_stream.support.memory import format_size, usable_memory

_PAGES_BESIDE = 4  # of a shard: its metadata, scales, ids and norms


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


def shard_rows(fingerprint: Fingerprint) -> int:
    """Return the number of rows of a full shard."""
    return min(fingerprint.rows_per_shard, fingerprint.samples)


def row_bytes(fingerprint: Fingerprint) -> int:
    """Return the bytes of one stored feature."""
    return fingerprint.proj_dim * np.dtype(fingerprint.dtype).itemsize


def bytes_on_disk(fingerprint: Fingerprint, shards: int) -> int:
    """Return at most how many bytes so many shards take."""
    rows = min(shards * shard_rows(fingerprint), fingerprint.samples)
    residuals = 4 * rows if fingerprint.has_residuals else 0
    return rows * row_bytes(fingerprint) + residuals + shards * _PAGES_BESIDE * PAGE


def bytes_while_written(fingerprint: Fingerprint) -> int:
    """Return the bytes of memory it takes to pack and write one shard.

    Its features (float32), their clean copy, their float64 for the norm, the rows, the image of
    the file, and what is written of it; of small rows, the norm's squares are more than the latter.
    """
    rows = shard_rows(fingerprint)
    numbers, stored = rows * fingerprint.proj_dim, 3 * rows * row_bytes(fingerprint)
    return max(numbers * (4 + 4 + 8) + stored, numbers * (4 + 8 + 8))


def _free_bytes(layout: StoreLayout) -> int:
    root = layout.root.absolute()
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return shutil.disk_usage(there).free
