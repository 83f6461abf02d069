"""Reading a complete store, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import InputError
from dtrak_stream.store.alike_shards import AlikeShards
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.row_set import Rows, RowSet
from dtrak_stream.store.sample_ids import StoreIds
from dtrak_stream.store.shard import FloatArray, ShardRows, corrupt_shard
from dtrak_stream.store.stored_shard import StoredShard, read_shard, telling_damage

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_BYTES = 64 * 2**20

Features = TypeVar("Features", FloatArray, "Tensor")


class FeatureStore:
    """A complete store, read shard by shard; every shard is checked as it is read."""

    def __init__(self, layout: StoreLayout) -> None:
        self.layout = layout
        self.fingerprint = layout.fingerprint
        self._checked: set[int] = set()
        self._stored: dict[int, StoredShard] = {}
        self._alike = AlikeShards()
        self._usable: NDArray[np.bool_] | None = None

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

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was found out about shards to who finds it out: a task is sent far."""
        known = {"_checked": set(), "_stored": {}, "_alike": AlikeShards(), "_usable": None}
        return self.__dict__ | known

    @property
    def stored(self) -> FeatureStore:
        """Return the store whose rows are on disk: itself, unless its features are made of them."""
        return self

    def of_stored(self, features: Features) -> Features:
        """Return what stored features (n, k of `stored`) stand for: (n, k), NumPy's or torch's."""
        return features

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
        rows = read_shard(path, fingerprint, check=not self.is_checked(shard))
        self.note_checked(shard)
        return rows

    def header(self, shard: int) -> StoredShard:
        """Look at a shard without reading its arrays, once. See `open_shard`."""
        if shard not in self._stored:
            path, run = self.layout.shard_path(shard), self.layout.shard_fingerprint(shard)
            self._stored[shard] = self._alike.open(path, run)
        return self._stored[shard]

    def is_checked(self, shard: int) -> bool:
        """Return whether the checksum of a shard is known to hold."""
        return shard in self._checked

    def note_checked(self, shard: int) -> None:
        """Note that the checksum of a shard holds."""
        self._checked.add(shard)

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

    def picked(self, rows: Rows) -> Iterator[FloatArray]:
        """Yield the features of some rows, in ascending order, (n, k) float32 at a time.

        Only these rows are read, and no checksum is taken.

        Raises
        ------
        UnavailableError, CorruptFileError
            If a shard cannot be read.
        """
        for start in range(0, len(rows), self.block_rows):
            yield self._picked(rows[start : start + self.block_rows])

    def _picked(self, rows: Rows) -> FloatArray:
        out = np.empty((len(rows), self.proj_dim), np.float32)
        for shard in self.layout.shards_of(range(int(rows[0]), int(rows[-1]) + 1)):
            held = self.layout.shard_rows(shard)
            first, last = np.searchsorted(rows, (held.start, held.stop))
            if first < last:
                self._pick(shard, rows[first:last], out[first:last])
        return out

    def _pick(self, shard: int, rows: Rows, out: FloatArray) -> None:
        """Read rows of a shard, one stretch at a time."""
        stored, held = self.header(shard), self.layout.shard_rows(shard)
        with telling_damage(stored.path):
            scale = stored.part("scale")
            scale[self.layout.removed.within(held) - held.start] = 0
            out[:] = stored.picked("features", RowSet(rows - held.start))
        out *= scale[rows - held.start, None]

    def earlier(self, state: str) -> FeatureStore | None:
        """Return the store as it was when `state` was its state; None if it never was."""
        layout = self.layout.earlier_state(state)
        return None if layout is None else FeatureStore(layout)

    def usable(self) -> NDArray[np.bool_]:
        """Return which rows are samples with a feature: (N,)."""
        if self._usable is None:
            self._usable = self._joined("scale", np.bool_)
        return self._usable

    @property
    def ids(self) -> StoreIds:
        """Return the ids of all rows, which are read when they are asked for."""
        return StoreIds(self.layout, self.header)

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
        residuals: FloatArray = self._joined("residual", np.float32)
        return residuals

    def _joined(self, name: str, dtype: type[np.generic]) -> Any:
        """Return an array of all rows (N,), without taking checksums."""
        joined = np.empty(len(self), dtype)
        for shard in range(self.layout.num_shards):
            stored, rows = self.header(shard), self.layout.shard_rows(shard)
            if name not in stored.places:
                raise corrupt_shard(stored.path, f"has no {name}")
            with telling_damage(stored.path):
                joined[rows.start : rows.stop] = stored.part(name)
        joined[self.layout.removed.rows] = 0
        return joined
