"""How much room a store takes, on disk and in memory while it is written."""

from __future__ import annotations

import numpy as np

from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.shard import PAGE

_PAGES_BESIDE = 4  # of a shard: its metadata, scales, ids and norms


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
    the file, and what is written of it.
    """
    rows = shard_rows(fingerprint)
    return rows * fingerprint.proj_dim * (4 + 4 + 8) + 3 * rows * row_bytes(fingerprint)
