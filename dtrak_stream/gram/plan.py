"""How a Gram matrix is cut so that computing it stays under a memory limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import stream_bytes
from dtrak_stream.support.memory import format_enough, format_size
from dtrak_stream.support.shared_work import Cluster

GramForm = Literal["primal", "dual"]

_SMALLEST_TILE = 64
_ROWS_PER_GROUP = 8192
_MOST_ROWS_PER_GROUP = 65_536
_GROUPS = 32
"""A large store is cut into about so many groups: what each begins with is a cost of its own."""
_GROUPS_PER_RANGE = 4
_AHEAD = 2
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
        Tasks that run at a time in a process.
    ahead
        Ranges whose sums are begun, and not added to the whole yet, where one process computes;
        0 where it does one task after the other, and none waits.
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
    ahead: int
    groups: tuple[range, ...]
    rows_at_a_time: int = ROWS_AT_A_TIME[0]

    def ranges(self, done: int = 0) -> Iterator[tuple[range, ...]]:
        """Yield the groups whose sums are added up before they are added to the whole.

        Parameters
        ----------
        done
            Groups that are in the whole already: those of the first ranges.
        """
        yield from cut(self.groups[done:], _GROUPS_PER_RANGE)

    @property
    def groups_per_range(self) -> int:
        """Return how many groups the longest range has."""
        return min(_GROUPS_PER_RANGE, len(self.groups))

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
    store: FeatureStore,
    form: GramForm | Literal["auto"],
    *,
    memory_limit: int,
    workers: int,
    fewest: int = 1,
    alone: bool = True,
) -> GramPlan:
    """Choose the form and the largest tiles that fit in `memory_limit` bytes.

    Parameters
    ----------
    store, form
        What is multiplied, and how.
    memory_limit
        Bytes that a process has.
    workers, fewest
        Tasks that a process runs at a time, and how many it can be brought down to.
    alone
        Whether there is no other process that computes.

    Raises
    ------
    MemoryLimitError
        If not even the smallest tiles fit.
    """
    form = chosen_form(store, form)
    size = store.proj_dim if form == "primal" else len(store)
    counts = range(workers, fewest - 1, -1)
    ways = [
        (count, rows, ahead)
        for count, rows in product(counts, ROWS_AT_A_TIME)
        for ahead in ((0,) if alone and count == 1 else range(_AHEAD, 0, -1))
    ]
    tile_size, (count, rows, ahead) = _largest_fit(store, form, size, memory_limit, ways)
    groups = _groups(store) if form == "primal" else (range(0),)
    return GramPlan(form, size, tile_size, count, ahead, groups, rows)


def plan_on(
    cluster: Cluster, store: FeatureStore, form: GramForm | Literal["auto"], *, memory_limit: int
) -> GramPlan:
    """Plan for a place, of whose processes each may take `memory_limit`; raises as `plan_gram`."""
    limit = memory_limit if cluster.memory is None else min(memory_limit, cluster.memory)
    return plan_gram(
        store,
        form,
        memory_limit=limit,
        workers=cluster.threads,
        fewest=cluster.fewest_threads,
        alone=cluster.workers == cluster.threads,
    )


def cut(groups: Sequence[range], size: int) -> Iterator[tuple[range, ...]]:
    """Yield groups, so many at a time; the last time what is left."""
    for start in range(0, len(groups), size):
        yield tuple(groups[start : start + size])


def chosen_form(store: FeatureStore, form: GramForm | Literal["auto"]) -> GramForm:
    """Return the form asked for; of `auto`, the smaller one."""
    if form != "auto":
        return form
    return "primal" if len(store) > store.proj_dim else "dual"


def _largest_fit(
    store: FeatureStore,
    form: GramForm,
    size: int,
    memory_limit: int,
    ways: Sequence[tuple[int, int, int]],
) -> tuple[int, tuple[int, int, int]]:
    """Return the size of tiles, and the first way to compute them that fits."""
    # fewer workers come before smaller tiles: each tile is another pass over the store
    tile = size
    while True:
        for way in ways:
            if tile_bytes(store, form, tile, *way) <= memory_limit:
                return tile, way
        if tile <= _SMALLEST_TILE:
            needed = format_enough(tile_bytes(store, form, tile, *ways[-1]))
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
    ahead: int = 0,
) -> int:
    """Return the peak memory, in bytes, of computing with tiles of this size.

    The running sum, its checkpoint on the way to disk, for each worker a float64 sum, a float32
    product, and the features they are made of; sums that wait to be added to others. A task that
    is the only one has two sums waiting, but no checkpoint on its way meanwhile.
    """
    features, waiting = stream_bytes(store, rows_at_a_time), 2 * ahead + workers - 1
    if form == "dual":
        features += 2 * 4 * tile * store.proj_dim
        waiting = max(0, ahead - 1)
    each = tile * tile * (8 + 4) + features
    return tile * tile * (8 + 16 + 8 * waiting) + workers * each


def _groups(store: FeatureStore) -> tuple[range, ...]:
    shards = store.layout.num_shards
    rows = max(_ROWS_PER_GROUP, min(_MOST_ROWS_PER_GROUP, len(store) // _GROUPS))
    step = max(1, rows // store.fingerprint.rows_per_shard)
    return tuple(range(start, min(start + step, shards)) for start in range(0, shards, step))
