"""Reading a complete store, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import InputError
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.sample_ids import StoreIds
from dtrak_stream.store.shard import FloatArray, ShardRows, corrupt_shard, read_shard

BLOCK_BYTES = 64 * 2**20


class FeatureStore:
    """A complete store, read shard by shard; every shard is checked as it is read."""

    def __init__(self, layout: StoreLayout) -> None:
        self.layout = layout
        self.fingerprint = layout.fingerprint
        self._checked: set[int] = set()
        self._scales: FloatArray | None = None

    @classmethod
    def open(cls, root: Path) -> FeatureStore:
        """Open a complete store.

        Raises
        ------
        InputError
            If it is not a store, or some shards are still missing.
        """
        layout = read_layout(root)
        missing = layout.missing_shards()
        if missing:
            raise InputError(
                f"{len(missing)} of {layout.num_shards} shards are missing",
                where=root,
                remedy="run the featurize command again to finish it",
            )
        return cls(layout)

    def __len__(self) -> int:
        return self.fingerprint.samples

    @property
    def proj_dim(self) -> int:
        """Return k, the length of a feature."""
        return self.fingerprint.proj_dim

    @property
    def block_rows(self) -> int:
        """Return how many rows `blocks` gives at a time."""
        fitting = max(1, BLOCK_BYTES // (4 * self.proj_dim))
        return min(fitting, self.fingerprint.rows_per_shard)

    def shard(self, shard: int) -> ShardRows:
        """Map a shard; it is checked the first time it is asked for. See `read_shard`."""
        removed, held = self.layout.removed, self.layout.shard_rows(shard)
        return self.stored_shard(shard).without(removed.within(held) - held.start)

    def stored_shard(self, shard: int) -> ShardRows:
        """Map a shard as it was written, with the rows that were removed since; see `shard`."""
        path, fingerprint = self.layout.shard_path(shard), self.layout.shard_fingerprint(shard)
        rows = read_shard(path, fingerprint, check=shard not in self._checked)
        self._checked.add(shard)
        return rows

    def blocks(self, shard: int) -> Iterator[tuple[range, FloatArray]]:
        """Yield (rows, features) of a shard in order: features are (len(rows), k) float32."""
        yield from self.blocks_of(self.layout.shard_rows(shard))

    def blocks_of(self, rows: range) -> Iterator[tuple[range, FloatArray]]:
        """Yield (rows, features) of consecutive rows in order, from one shard at a time."""
        for shard in self.layout.shards_of(rows):
            contents, held = self.shard(shard), self.layout.shard_rows(shard)
            first, last = max(rows.start, held.start), min(rows.stop, held.stop)
            for start in range(first, last, self.block_rows):
                part = range(start, min(start + self.block_rows, last))
                yield part, contents.dequantised(part.start - held.start, part.stop - held.start)

    def rows(self, rows: range) -> FloatArray:
        """Return the features of consecutive rows: (len(rows), k) float32."""
        out = np.empty((len(rows), self.proj_dim), np.float32)
        for shard in self.layout.shards_of(rows):
            held = self.layout.shard_rows(shard)
            start, stop = max(rows.start, held.start), min(rows.stop, held.stop)
            features = self.shard(shard).dequantised(start - held.start, stop - held.start)
            out[start - rows.start : stop - rows.start] = features
        return out

    def scales(self) -> FloatArray:
        """Return the scale of every row: (N,) float32, 0 for those without a feature."""
        if self._scales is None:
            self._scales = self._joined("scale")
        return self._scales

    def usable(self) -> NDArray[np.bool_]:
        """Return which rows are samples with a feature: (N,)."""
        return self.scales() > 0

    @property
    def ids(self) -> StoreIds:
        """Return the ids of all rows, which are read when they are asked for."""
        return StoreIds(self.layout)

    def residuals(self) -> FloatArray:
        """Return the residual of every row: (N,) float32, 0 for those without a feature.

        Raises
        ------
        InputError
            If the store was made without residuals.
        CorruptFileError
            If a shard has none.
        """
        if not self.fingerprint.has_residuals:
            raise InputError(
                "its rows have no residuals",
                where=self.layout.root,
                remedy="give a store that was made with residuals",
            )
        residuals: FloatArray = self._joined("residual")
        return residuals

    def _joined(self, name: str) -> Any:
        layout, parts = self.layout, list[Any]()
        for shard in range(layout.num_shards):
            path, run = layout.shard_path(shard), layout.shard_fingerprint(shard)
            # no checksums: they would take a pass over all features
            parts.append(_array_of(read_shard(path, run, check=False), name, path))
        joined = np.concatenate(parts)
        joined[layout.removed.rows] = 0
        return joined


def _array_of(rows: ShardRows, name: str, path: Path) -> NDArray[Any]:
    array: NDArray[Any] | None = getattr(rows, name)
    if array is None:
        raise corrupt_shard(path, f"has no {name}")
    return array
