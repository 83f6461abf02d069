"""Scores summed per group while they stream by, and ranked when all are there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.groups.read import read_groups
from dtrak_stream.groups.table import REST, GroupTable
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.memory import format_enough, format_size
from dtrak_stream.support.progress import say

Sums = NDArray[np.float64]
Usable = Callable[[], NDArray[np.bool_]]
_LARGEST_PART = 16_384  # groups that one scored block can hold, as many as its samples
_SHARED_ROWS = 6  # rows of length G that ranking one query takes, and the names


class GroupSums:
    """Sums the scores of each group over all training samples, from blocks of scores.

    Without a table it does nothing.

    Parameters
    ----------
    table
        Who belongs to which group.
    usable
        Tells which training samples have scores, (N,), when that is first needed.
    queries
        Q.
    top_groups
        Length of the lists of groups of each query.
    rank
        What groups are ranked by.
    memory_limit
        Bytes for arrays; also decides whether all sums are kept, or the lists only.

    Raises
    ------
    MemoryLimitError
        If the sums of one query do not fit.
    """

    def __init__(
        self,
        table: GroupTable | None,
        usable: Usable,
        *,
        queries: int,
        top_groups: int = 20,
        rank: Literal["sum", "mean"] = "sum",
        memory_limit: int = 2**62,
    ) -> None:
        self.table = table
        self._queries = queries
        self._usable = usable
        self._rank = rank
        if table is None:
            return
        self.top_groups = min(top_groups, len(table))
        self._refuse_too_many(memory_limit)
        self.keeps_all = 8 * queries * len(table) <= memory_limit

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Return the number of usable training samples of each group: (G,)."""
        assert self.table is not None
        return self.table.counts(self._usable())

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the sums: attributes of the file, and of unfinished work."""
        if self.table is None:
            return {}
        return {
            "group_fingerprint": self.table.hash(),
            "num_groups": len(self.table),
            "group_rest": self.table.rest,
            "rank_groups": self._rank,
            "top_groups": self.top_groups,
            "has_all_group_scores": self.keeps_all,
        }

    @property
    def bytes_per_query(self) -> int:
        """Return how many bytes of memory each query in work takes."""
        if self.table is None:
            return 0
        return 8 * len(self.table) + 3 * 8 * min(len(self.table), _LARGEST_PART)

    @property
    def bytes_shared(self) -> int:
        """Return how many bytes of memory are taken whatever the number of queries in work."""
        if self.table is None:
            return 0
        names = self.table.names.nbytes + self.table.index.nbytes
        return names + _SHARED_ROWS * 8 * len(self.table)

    def disk_bytes(self, parts: int) -> int:
        """Return how many bytes on disk the sums and `parts` partial sums a query block take."""
        if self.table is None:
            return 0
        partial = 8 * self._queries * parts * min(len(self.table), _LARGEST_PART)
        kept = len(self.table) if self.keeps_all else 0
        return partial + 8 * self._queries * (kept + 4 * self.top_groups)

    def part(self, scores: FloatArray, columns: range) -> dict[str, NDArray[Any]]:
        """Return the sums of one block of scores, to be kept and added up later.

        Parameters
        ----------
        scores
            (L, Q, n) float32, for each lambda; NaN for quarantined samples.
        columns
            The n training samples.

        Returns
        -------
        dict
            `group_index` (g,): the groups that occur; `group_sum` (L, Q, g) float64, NaN for
            quarantined queries. Nothing without a table.
        """
        if self.table is None:
            return {}
        rows = slice(columns.start, columns.stop)
        usable = self._usable()[rows]
        groups, place = np.unique(self.table.index[rows], return_inverse=True)
        sums = np.empty((*scores.shape[:2], len(groups)))
        for cell in np.ndindex(*scores.shape[:2]):
            weights = np.where(usable, scores[cell], 0)
            sums[cell] = np.bincount(place, weights=weights, minlength=len(groups))
        return {"group_index": groups, "group_sum": sums}

    def begin(self, file: Any) -> None:
        """Create the data sets of the sums in a scores file (HDF5)."""
        if self.table is None:
            return
        file["group_name"] = self.table.names
        file["group_count"] = self.counts
        if self.keeps_all:
            file.create_dataset("group_score", (self._queries, len(self.table)), np.float64)
        shape = (self._queries, self.top_groups)
        for end in ("top", "bottom"):
            file.create_dataset(f"{end}_group_index", shape, np.int64)
            file.create_dataset(f"{end}_group_score", shape, np.float64)

    def totals(self, queries: int) -> GroupTotals:
        """Return what adds up the parts of a block of so many queries."""
        return GroupTotals(self, queries)

    def ranking_values(self, sums: Sums) -> Sums:
        """Return what groups are ranked by: (G,); NaN for a group without usable samples."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums / self.counts
        return np.where(self.counts > 0, means if self._rank == "mean" else sums, np.nan)

    def _refuse_too_many(self, memory_limit: int) -> None:
        assert self.table is not None
        needed = self.bytes_per_query + self.bytes_shared
        if needed > memory_limit:
            raise MemoryLimitError(
                f"summing scores over {len(self.table):,} groups needs {format_enough(needed)}",
                where=f"--memory-limit {format_size(memory_limit)}",
                remedy=f"allow more than {format_enough(needed)}, or make coarser groups",
            )


class GroupTotals:
    """The sums of a block of queries as parts come in. Made by `GroupSums.totals`."""

    def __init__(self, sums: GroupSums, queries: int) -> None:
        self._sums = sums
        groups = 0 if sums.table is None else len(sums.table)
        self._totals = np.zeros((queries, groups))

    def add(self, part: dict[str, NDArray[Any]], each: int) -> None:
        """Add what `GroupSums.part` returned, for one of its lambdas."""
        if self._sums.table is not None:
            self._totals[:, part["group_index"]] += part["group_sum"][each]

    def write(self, file: Any, rows: slice) -> None:
        """Write the sums and the lists of these queries into the file that was begun."""
        if self._sums.table is None:
            return
        self._totals[:, self._sums.counts == 0] = np.nan
        if self._sums.keeps_all:
            file["group_score"][rows] = self._totals
        for query, sums in enumerate(self._totals, start=rows.start):
            values = self._sums.ranking_values(sums)
            for end, sign in (("top", -1), ("bottom", 1)):
                index = _first(sign * values, self._sums.top_groups)
                file[f"{end}_group_index"][query] = index
                file[f"{end}_group_score"][query] = np.where(index < 0, np.nan, sums[index])


def _first(values: Sums, count: int) -> NDArray[np.int64]:
    """Return the places of the `count` smallest values, smallest first, -1 where there are none.

    Ties are won by the lower place; NaN is never listed.
    """
    usable = np.flatnonzero(np.isfinite(values))
    if len(usable) > count:
        threshold = np.partition(values[usable], count - 1)[count - 1]
        usable = usable[values[usable] <= threshold]
    chosen = usable[np.argsort(values[usable], kind="stable")][:count]
    return np.pad(chosen, (0, count - len(chosen)), constant_values=-1)


def sum_groups(
    options: GroupOptions,
    train: FeatureStore,
    usable: Usable,
    *,
    queries: int,
    images: ImageOptions | None,
    memory_limit: int,
    visible: bool,
) -> GroupSums:
    """Return what sums the scores of the groups that `options` names, or does nothing.

    `usable` tells which training samples have scores, (N,), and is not asked before scores come.

    Raises
    ------
    DtrakStreamError
        See `read_groups`, `GroupOptions.chosen` and `GroupSums`.
    """
    table = None
    if options.chosen:
        ids = train.ids
        table = read_groups(
            options,
            ids,
            images=images,
            pictures=train.layout.pictures(),
            memory_limit=memory_limit,
            visible=visible,
        )
        if table.rest:
            say(
                f"{table.rest:,} of {len(ids):,} training samples have no group: they are summed "
                f"up as {REST}"
            )
    return GroupSums(
        table,
        usable,
        queries=queries,
        top_groups=options.top_groups,
        rank=options.rank_groups,
        memory_limit=memory_limit,
    )
