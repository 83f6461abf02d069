"""How a Gram matrix is cut so that computing it stays under a memory limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import stream_bytes
from dtrak_stream.support.memory import format_enough, format_size

GramForm = Literal["primal", "dual"]

_SMALLEST_TILE = 64
_ROWS_PER_GROUP = 32_768
ROWS_AT_A_TIME = (4096, 2048, 1024, 512, 256)
"""Rows whose product is one float32 sum, as memory allows: adding products of fewer to the float64
sum takes longer than computing them."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of the Gram matrix: rows by columns. Only row.start <= column.start exist."""

    rows: range
    columns: range

    @property
    def name(self) -> str:
        """Return a name for files."""
        return f"tile-{self.rows.start:06d}-{self.columns.start:06d}"

    @property
    def on_diagonal(self) -> bool:
        """Return whether the tile is its own mirror image."""
        return self.rows == self.columns


@dataclass(frozen=True)
class GramPlan:
    """How a Gram matrix is computed.

    Attributes
    ----------
    form
        `primal`: Phi^T Phi (k, k), a sum over rows of the store. `dual`: Phi Phi^T (N, N).
    size
        k or N.
    tile_size
        Rows and columns computed at a time; `size` if all fits in memory at once.
    workers
        Tasks that run at a time.
    groups
        Shards that one task of the primal form sums over. One empty group in the dual form,
        whose tiles are computed in one go.
    rows_at_a_time
        Rows that are read at a time, and in the primal form multiplied.
    """

    form: GramForm
    size: int
    tile_size: int
    workers: int
    groups: tuple[range, ...]
    rows_at_a_time: int = ROWS_AT_A_TIME[0]

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles of the upper triangle."""
        cuts = [
            range(start, min(start + self.tile_size, self.size))
            for start in range(0, self.size, self.tile_size)
        ]
        for i, rows in enumerate(cuts):
            for columns in cuts[i:]:
                yield Tile(rows, columns)

    @property
    def num_tasks(self) -> int:
        """Return the number of products to compute."""
        return sum(1 for _ in self.tiles()) * len(self.groups)


def plan_gram(
    store: FeatureStore, form: GramForm | Literal["auto"], *, memory_limit: int, workers: int
) -> GramPlan:
    """Choose the form and the largest tiles that fit in `memory_limit` bytes.

    Raises
    ------
    MemoryLimitError
        If not even the smallest tiles fit.
    """
    form = chosen_form(store, form)
    size = store.proj_dim if form == "primal" else len(store)
    tile_size, workers, rows = _largest_fit(store, form, size, memory_limit, workers)
    groups = _groups(store) if form == "primal" else (range(0),)
    return GramPlan(form, size, tile_size, workers, groups, rows)


def chosen_form(store: FeatureStore, form: GramForm | Literal["auto"]) -> GramForm:
    """Return the form asked for; of `auto`, the smaller one."""
    if form != "auto":
        return form
    return "primal" if len(store) > store.proj_dim else "dual"


def _largest_fit(
    store: FeatureStore, form: GramForm, size: int, memory_limit: int, workers: int
) -> tuple[int, int, int]:
    # fewer workers come before smaller tiles: each tile is another pass over the store
    tile = size
    while True:
        for count in range(workers, 0, -1):
            for rows in ROWS_AT_A_TIME:
                if tile_bytes(store, form, tile, count, rows) <= memory_limit:
                    return tile, count, rows
        if tile <= _SMALLEST_TILE:
            needed = format_enough(tile_bytes(store, form, tile, 1))
            raise MemoryLimitError(
                f"the smallest tiles of the Gram matrix need {needed}",
                where=f"--memory-limit {format_size(memory_limit)}",
                remedy=f"allow at least {needed}",
            )
        tile = max(_SMALLEST_TILE, -(-tile // 2))


def tile_bytes(
    store: FeatureStore,
    form: GramForm,
    tile: int,
    workers: int,
    rows_at_a_time: int = ROWS_AT_A_TIME[-1],
) -> int:
    """Return the peak memory, in bytes, of computing with tiles of this size.

    The running sum, its checkpoint on the way to disk, and for each worker a float64 sum, a
    float32 product, and the features they are made of.
    """
    features = stream_bytes(store, rows_at_a_time)
    if form == "dual":
        features += 2 * 4 * tile * store.proj_dim
    each = tile * tile * (8 + 4) + features
    return tile * tile * (8 + 16) + workers * each


def _groups(store: FeatureStore) -> tuple[range, ...]:
    shards = store.layout.num_shards
    step = max(1, _ROWS_PER_GROUP // store.fingerprint.rows_per_shard)
    return tuple(range(start, min(start + step, shards)) for start in range(0, shards, step))
