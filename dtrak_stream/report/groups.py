"""Bars of the groups that a query is due to."""

from __future__ import annotations

from dataclasses import dataclass

from dtrak_stream.groups.lists import GroupLists, RankedGroup
from dtrak_stream.report.histograms import signed, unsigned


@dataclass(frozen=True)
class GroupBar:
    """One group."""

    name: str
    """Its name."""
    samples: int
    """How many training images with scores it has."""
    total: str
    """The sum of their scores, for reading."""
    mean: str
    """Their mean, for reading."""
    share: float
    """Size of what it is ranked by, in percent of the largest shown for this query."""
    kind: str
    """`high` for a positive sum, `low` for a negative one, `least` for one without a sign."""


@dataclass(frozen=True)
class GroupRow:
    """The groups at one end of a query's ranking, or all of them."""

    label: str
    """What they are."""
    bars: list[GroupBar]
    """The groups, strongest first."""


class GroupBars:
    """Makes the bars of one scores file.

    Parameters
    ----------
    lists
        The opened file.
    count
        Groups shown at each end.
    unsigned_scores
        Whether scores are squares or sizes, which tell no proponents from opponents.
    """

    def __init__(self, lists: GroupLists, count: int, *, unsigned_scores: bool) -> None:
        self._lists = lists
        self._count = count
        self._unsigned = unsigned_scores

    def rows(self, query: int) -> list[GroupRow]:
        """Return the rows of a query; none if it has no scores or there are no groups."""
        if not self._count:
            return []
        top = self._lists.ranked("top", query, 2 * self._count)
        if self._lists.holds_all(2 * self._count):
            rows = {"All groups": top}
        else:
            least = "Least influential groups" if self._unsigned else "Last groups"
            bottom = self._lists.ranked("bottom", query, self._count)
            rows = {"Top groups": top[: self._count], least: bottom}
        sizes = [abs(self._value(group)) for listed in rows.values() for group in listed]
        largest = max(sizes, default=0.0)
        return [
            GroupRow(label, [self._bar(group, largest) for group in listed])
            for label, listed in rows.items()
            if listed
        ]

    def _value(self, group: RankedGroup) -> float:
        return group.mean if self._lists.rank == "mean" else group.total

    def _bar(self, group: RankedGroup, largest: float) -> GroupBar:
        text = unsigned if self._unsigned else signed
        share = 100 * abs(self._value(group)) / largest if largest else 0.0
        kind = "high" if group.total > 0 else "low" if group.total < 0 else "least"
        return GroupBar(group.name, group.samples, text(group.total), text(group.mean), share, kind)
