"""What the page and the grids show of one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.report.groups import GroupRow
from dtrak_stream.report.histograms import (
    QUERY_FRAME,
    count_scores,
    draw_histogram,
    signed,
    unsigned,
)
from dtrak_stream.report.tiles import Gallery, Tile
from dtrak_stream.scoring.scores_file import Ranked, ScoresFile


@dataclass(frozen=True)
class Entry:
    """One training image in a row."""

    rank: int
    """1 is the strongest."""
    tile: Tile
    """Its picture."""
    score: float
    """Its score."""
    score_text: str
    """Its score, for reading."""
    error_text: str
    """The standard error of its score, for reading; empty if it is not known."""
    share: float
    """Size of its score, in percent of the largest shown for this query."""
    kind: str
    """`high` for a positive score, `low` for a negative one, `least` for one without a sign."""
    seen_text: str
    """The probability that the model saw it, in percent; empty if it is not known."""
    equal: int = 1
    """How many training images are equal to it, itself among them."""


@dataclass(frozen=True)
class Row:
    """The training images at one end of a query's ranking."""

    label: str
    """What they are."""
    meaning: str
    """What that means."""
    kind: str
    """`high`, `low` or `least`: the row's colour."""
    entries: list[Entry]
    """The images, strongest first."""


@dataclass(frozen=True)
class Card:
    """One query with everything shown of it."""

    number: int
    """Row in the query source."""
    tile: Tile
    """Its picture."""
    rows: list[Row]
    """Its proponents, then its opponents."""
    histogram: Markup | None
    """All its scores; None if the file does not hold them."""
    prominence: str
    """How far the top score stands out, in standard deviations; empty if it is not known."""
    groups: list[GroupRow] = field(default_factory=list)
    """The groups of training images it is due to; none if the file sums over none."""

    @property
    def has_scores(self) -> bool:
        """Return False for a query that was quarantined."""
        return any(row.entries for row in self.rows)


class CardMaker:
    """Makes the cards of one scores file.

    Parameters
    ----------
    scores
        The opened file.
    train, query
        The images.
    count
        Images in a row.
    equal
        How many equal images there are of a training image, by its id; left out if it is the
        only one.
    """

    def __init__(
        self,
        scores: ScoresFile,
        train: Gallery,
        query: Gallery,
        count: int,
        equal: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._scores = scores
        self._train = train
        self._query = query
        self._count = count
        self._equal = equal
        self._squared = not scores.has_sign
        self._kind = scores.transform.word
        self._seen = scores.seen

    def card(self, number: int) -> Card:
        """Return the card of query `number`.

        Raises
        ------
        CorruptFileError
            If the ranking in the file contradicts the scores in it.
        """
        tile = self._query.tile(number)
        top = self._scores.top(number, self._count)
        bottom = self._scores.bottom(number, self._count)
        rows = self._rows(top, bottom)
        if not (top and self._scores.has_all_scores):
            return Card(number, tile, rows, None, "")
        all_scores = self._scores.scores(number)
        self._require_consistent(number, all_scores, [*top, *bottom])
        histogram = self._histogram(number, all_scores, rows)
        return Card(number, tile, rows, histogram, _prominence(all_scores, top[0].score))

    def _rows(self, top: Sequence[Ranked], bottom: Sequence[Ranked]) -> list[Row]:
        largest = max((abs(entry.score) for entry in (*top, *bottom)), default=0.0)
        if self._squared:
            first = Row("Most influential", f"largest {self._kind} scores", "high", [])
            second = Row("Least influential", f"{self._kind} scores nearest to zero", "least", [])
        else:
            first = Row("Proponents", "training on these lowers the query's loss", "high", [])
            second = Row("Opponents", "training on these raises the query's loss", "low", [])
        first.entries.extend(self._entry(ranked, largest, "high") for ranked in top)
        end = "least" if self._squared else "low"
        second.entries.extend(self._entry(ranked, largest, end) for ranked in bottom)
        return [first, second]

    def _entry(self, ranked: Ranked, largest: float, end: str) -> Entry:
        tile = self._train.tile(ranked.index)
        return Entry(
            rank=ranked.rank,
            tile=tile,
            score=ranked.score,
            score_text=unsigned(ranked.score) if self._squared else signed(ranked.score),
            error_text="" if ranked.error is None else unsigned(ranked.error),
            share=100 * abs(ranked.score) / largest if largest else 0.0,
            kind=end if self._squared else _sign(ranked.score),
            seen_text=self._seen_text(ranked.index),
            equal=self._equal.get(tile.sample_id, 1),
        )

    def _seen_text(self, index: int) -> str:
        if self._seen is None or np.isnan(self._seen[index]):
            return ""
        return f"{100 * self._seen[index]:.0f} %"

    def _histogram(self, number: int, scores: NDArray[np.float32], rows: Sequence[Row]) -> Markup:
        finite = scores[np.isfinite(scores)]
        counted = count_scores([finite], float(finite.min()), float(finite.max()))
        marks = {row.kind: [entry.score for entry in row.entries] for row in reversed(rows)}
        return draw_histogram(counted, QUERY_FRAME, name=f"query-{number}", marks=marks)

    def _require_consistent(
        self, number: int, scores: NDArray[np.float32], ranking: Sequence[Ranked]
    ) -> None:
        for ranked in ranking:
            if not np.isclose(scores[ranked.index], ranked.score, rtol=1e-5, atol=0):
                raise CorruptFileError(
                    f"the ranking of query {number} gives training image {ranked.index} the score "
                    f"{ranked.score:g}, but scores has {scores[ranked.index]:g}",
                    where=self._scores.path,
                    remedy="write it again with dtrak-stream score",
                )


def _sign(score: float) -> str:
    if score == 0:
        return "least"
    return "high" if score > 0 else "low"


def _prominence(scores: NDArray[np.float32], top: float) -> str:
    finite = scores[np.isfinite(scores)].astype(np.float64)
    spread = float(finite.std())
    return f"{(top - float(finite.mean())) / spread:.1f}" if spread > 0 else ""
