"""All scores of a scores file as an array for other programs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import InputError
from dtrak_stream.exchange.array_writers import Shape
from dtrak_stream.exchange.sample_ids import write_ids
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.scores_layout import Side
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.names import each_of

_BLOCK_BYTES = 32 * 2**20

Mask = NDArray[np.bool_]
_SIDES: tuple[Side, ...] = ("query", "train")


class ExportedScores:
    """All scores, one query after the other, with or without those of quarantined samples.

    Samples that were removed have neither.

    Parameters
    ----------
    scores
        The opened file.
    skip
        True: quarantined queries have no row and quarantined training samples no column. False:
        theirs are NaN.

    Raises
    ------
    InputError
        If the file holds rankings only.
    """

    name = "scores"

    def __init__(self, scores: ScoresFile, *, skip: bool) -> None:
        if not scores.has_all_scores:
            raise InputError(
                "holds the strongest scores of each query, not all",
                where=scores.path,
                remedy="score with --save-scores yes, or export the rankings to a .csv",
            )
        self._scores = scores
        self._scored = _usable(scores)
        self._queries, self._train = (
            _exported(scores, side, usable, skip=skip)
            for side, usable in zip(_SIDES, self._scored, strict=True)
        )

    @property
    def shape(self) -> Shape:
        """Return (queries, training samples)."""
        return int(self._queries.sum()), int(self._train.sum())

    @property
    def left_out(self) -> int:
        """Return the number of quarantined samples of either side."""
        sides = zip(_SIDES, self._scored, strict=True)
        return sum(int((~usable).sum()) - len(self._scores.removed(side)) for side, usable in sides)

    def blocks(self) -> Iterator[FloatArray]:
        """Yield (n, training samples) float32 in the order of the queries."""
        chosen = np.flatnonzero(self._queries)
        step = max(1, _BLOCK_BYTES // (4 * len(self._train)))
        for start in range(0, len(chosen), step):
            rows = [self._scores.scores(int(query)) for query in chosen[start : start + step]]
            yield np.stack(rows)[:, self._train]

    def about(self) -> dict[str, str]:
        """Return what the file tells about itself."""
        return {name: str(value) for name, value in self._scores.attributes.items()}

    @property
    def subject(self) -> str:
        """Return what the scores are of."""
        return self._scores.subject

    def beside(self, out: Path) -> dict[Path, Callable[[Path], object]]:
        """Return what writes `OUT.query_ids.txt` and `OUT.train_ids.txt`: rows and columns.

        Where the file has them, also `OUT.seen.npy`: (training samples,) float32, the probability
        that the model saw each; NaN where it is not known.
        """
        sides: dict[Side, Mask] = {"query": self._queries, "train": self._train}
        found: dict[Path, Callable[[Path], object]] = {
            out.with_name(f"{out.name}.{side}_ids.txt"): partial(self._write_ids, side, usable)
            for side, usable in sides.items()
        }
        if self._scores.seen is not None:
            found[out.with_name(f"{out.name}.seen.npy")] = self._write_seen
        return found

    def _write_seen(self, path: Path) -> None:
        assert self._scores.seen is not None
        with path.open("wb") as file:  # under a name of its own until all of it is there
            np.save(file, self._scores.seen[self._train])

    def _write_ids(self, side: Side, usable: Mask, path: Path) -> None:
        names = each_of(self._scores.ids(side))
        write_ids(path, itertools.compress(names, usable))


def _exported(scores: ScoresFile, side: Side, usable: Mask, *, skip: bool) -> Mask:
    """Return which samples of a side have a row or a column: those removed have none."""
    exported = usable.copy() if skip else np.ones(len(usable), np.bool_)
    exported[scores.removed(side)] = False
    return exported


def _usable(scores: ScoresFile) -> tuple[Mask, Mask]:
    """Return which queries (Q,) and which training samples (N,) have scores."""
    queries: Mask = scores.top_indices(1)[:, 0] >= 0
    if not queries.any():
        return queries, np.zeros(scores.train_count, np.bool_)
    return queries, np.isfinite(scores.scores(int(queries.argmax())))
