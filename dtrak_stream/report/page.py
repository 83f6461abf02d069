"""The words and numbers of the page, and the page itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from dtrak_stream.data.options import ImageShape
from dtrak_stream.groups.lists import GroupLists
from dtrak_stream.report.cards import Card
from dtrak_stream.report.facts import facts, numbers
from dtrak_stream.report.groups import GroupBars
from dtrak_stream.report.made_from import records_beside
from dtrak_stream.report.options import ReportOptions
from dtrak_stream.report.overall import Overall
from dtrak_stream.report.places import GENERATOR
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.seen.judgement import in_words
from dtrak_stream.support.provenance import provenance

_CRISP_BELOW = 128  # pixels: a smaller image is shown enlarged, with its pixels as squares


@dataclass(frozen=True)
class Page:
    """Everything on the page but the cards."""

    scores: ScoresFile
    """The opened scores file."""
    options: ReportOptions
    """What to show."""
    shape: ImageShape
    """Shape of every image."""
    queries: Sequence[int]
    """Rows of the queries on the page."""
    overall: Overall
    """What holds over all queries."""
    groups: GroupLists | None = None
    """The opened file's group rankings."""

    @property
    def shown(self) -> int:
        """Return the number of queries on the page."""
        return len(self.queries)

    def group_bars(self) -> GroupBars | None:
        """Return what makes the bars of each query's groups; None if there are no groups."""
        if self.groups is None or not self.groups.count:
            return None
        unsigned_scores = not self.scores.has_sign
        count = self.options.shown_groups
        return GroupBars(self.groups, count, unsigned_scores=unsigned_scores)

    def render(self, cards: Iterable[Card]) -> Iterator[str]:
        """Yield the page piece by piece; each card is asked for when its turn comes."""
        template = _environment().get_template("page.html.j2")
        return template.generate(cards=cards, **self._context())

    def _context(self) -> dict[str, Any]:
        attributes = self.scores.attributes
        return {
            "generator": GENERATOR,
            "subject": self.scores.subject,
            "facts": facts(self.scores),
            "attributes": attributes,
            "squared": not self.scores.has_sign,
            "proponents": self.options.proponents,
            "overall": self.overall,
            "groups": self.groups if self.groups and self.groups.count else None,
            "shown": self.shown,
            "query_count": self.scores.left("query"),
            "train_count": self.scores.left("train"),
            "quarantined_train": int(attributes.get("quarantined_train", 0)),
            "quarantined_query": int(attributes.get("quarantined_query", 0)),
            "has_all_scores": self.scores.has_all_scores,
            "damping": numbers(attributes, "damping_absolute"),
            "seen": in_words(attributes),
            "seen_mode": str(attributes.get("seen", "")),
            "shape": self.shape,
            "crisp": max(self.shape.height, self.shape.width) < _CRISP_BELOW,
            "configurations": _configurations(self.scores.path),
            "provenance": provenance(),
        }


def _configurations(scores: Path) -> dict[str, str]:
    """Return the contents of the run's configuration files that lie beside the scores."""
    return {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in records_beside(scores)
    }


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
