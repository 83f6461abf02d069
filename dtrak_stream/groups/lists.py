"""Reading the group sums of a scores file, a query at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py

from dtrak_stream.errors import CorruptFileError

DATASETS = (
    "group_name",
    "group_count",
    "top_group_index",
    "top_group_score",
    "bottom_group_index",
    "bottom_group_score",
)


@dataclass(frozen=True)
class RankedGroup:
    """One group in a query's ranking."""

    rank: int
    """1 is the strongest."""
    name: str
    """Its name."""
    samples: int
    """How many training samples with scores it has."""
    total: float
    """The sum of their scores for the query."""

    @property
    def mean(self) -> float:
        """The mean of their scores for the query."""
        return self.total / self.samples


class GroupLists(AbstractContextManager["GroupLists"]):
    """The group rankings in a scores.h5; use it in a `with` statement.

    Parameters
    ----------
    path
        A readable scores file.
    root
        Name of the HDF5 group that holds the rankings: that of one lambda of a list.

    Raises
    ------
    CorruptFileError
        If it holds some of the data sets of groups and not the others.
    """

    def __init__(self, path: Path, root: str = "/") -> None:
        self.path = path
        self._file = h5py.File(path, "r")
        self._root = self._file[root]
        missing = [name for name in DATASETS if name not in self._root]
        self.count = 0 if missing else len(self._root["group_name"])
        if missing and len(missing) < len(DATASETS):
            self._file.close()
            raise self._corrupt(f"has no {', '.join(missing)}")

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    @property
    def rest(self) -> int:
        """Return the number of training samples without a group."""
        return int(self._file.attrs.get("group_rest", 0))

    @property
    def rank(self) -> str:
        """Return what groups are ranked by: sum or mean."""
        return str(self._file.attrs.get("rank_groups", "sum"))

    def holds_all(self, count: int) -> bool:
        """Return whether every group is among the first `count` of a ranking."""
        return not self.count or self.count <= min(count, self._root["top_group_index"].shape[1])

    def ranked(self, end: Literal["top", "bottom"], query: int, count: int) -> list[RankedGroup]:
        """Return the groups at one end of a query's ranking, at most `count`, strongest first."""
        if not self.count:
            return []
        indices = self._root[f"{end}_group_index"][query, :count].tolist()
        totals = self._root[f"{end}_group_score"][query, :count].tolist()
        return [
            self._group(rank, index, total)
            for rank, (index, total) in enumerate(zip(indices, totals, strict=True), start=1)
            if index >= 0
        ]

    def _group(self, rank: int, index: int, total: float) -> RankedGroup:
        if index >= self.count:
            raise self._corrupt(f"a ranking names a group outside 0 to {self.count - 1}")
        name = self._root["group_name"][index].decode("utf-8", errors="replace")
        samples = int(self._root["group_count"][index])
        if samples < 1:
            raise self._corrupt(f"a ranking names {name}, a group without samples")
        return RankedGroup(rank, name, samples, total)

    def _corrupt(self, what: str) -> CorruptFileError:
        remedy = "write it again with dtrak-stream score"
        return CorruptFileError(what, where=self.path, remedy=remedy)
