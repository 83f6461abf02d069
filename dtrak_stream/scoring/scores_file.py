"""Reading a scores file: a few rows at a time, checked before they are used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.scoring.scores_checksums import CHECKSUM
from dtrak_stream.scoring.scores_layout import (
    RANKINGS,
    SEEN,
    WRITE_AGAIN,
    Side,
    damping_names,
    has_errors,
    open_scores,
    plain,
    require_parts,
    root_of,
    subject_of,
    text_of,
    unreadable_scores,
)
from dtrak_stream.scoring.transforms import TRANSFORMS, Transform
from dtrak_stream.support.names import FixedWidthNames

End = Literal["top", "bottom"]

_BLOCK_SCORES = 2**23  # 32 MiB of float32


@dataclass(frozen=True)
class Ranked:
    """One training image in a query's ranking."""

    rank: int
    """1 is the strongest."""
    index: int
    """Row in the training source."""
    score: float
    """Its score for the query."""
    error: float | None = None
    """Standard error of the score, where the file holds them."""


class ScoresFile(AbstractContextManager["ScoresFile"]):
    """A scores.h5, open for reading; use it in a `with` statement.

    Parameters
    ----------
    path
        The file. Its `scores` (Q, N) may be absent; the rankings (Q, top_k) may not.
    damping
        Which lambda to read, where the file holds scores for a list of them, from 0.

    Raises
    ------
    InputError
        If the file cannot be read or is not a scores file, or has no such lambda.
    CorruptFileError
        If its parts do not fit together.
    """

    def __init__(self, path: Path, damping: int | None = None) -> None:
        self.path = path
        self._file = open_scores(path)
        try:
            self._root = root_of(self._file, damping, path)
            require_parts(self._file, self._root, path)
            _ = self.attributes  # damaged ones are met here, not later
        except (OSError, KeyError, RuntimeError) as error:
            self._file.close()
            raise unreadable_scores(path, error) from error
        except BaseException:
            self._file.close()
            raise

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """Return what the file tells of its scores, as plain Python values, sorted by name."""
        of_lambda = self._root.attrs.items()
        attributes = {**dict(self._file.attrs.items()), **dict(of_lambda)}
        attributes.pop(CHECKSUM, None)
        return {name: plain(value) for name, value in sorted(attributes.items())}

    @property
    def subject(self) -> str:
        """Return a hash of what the scores are of: features and queries, or retrained models."""
        known = "|".join(str(value) for value in subject_of(self.attributes).values())
        return xxhash.xxh3_64_hexdigest(known.encode())

    @property
    def has_sign(self) -> bool:
        """Return whether scores tell proponents from opponents: they are not squares or such."""
        return self.transform.keeps_sign

    @property
    def transform(self) -> Transform:
        """Return what was done to the scores."""
        return TRANSFORMS[plain(self._file.attrs["transform"])]

    @property
    def root_name(self) -> str:
        """Return the name of the HDF5 group that holds the rankings of the lambda read."""
        return str(self._root.name)

    @property
    def damping_count(self) -> int:
        """Return for how many lambdas of a list the file holds scores; 0 without a list."""
        return len(damping_names(self._file))

    @property
    def query_count(self) -> int:
        """Return Q."""
        return len(self._file["query_id"])

    @property
    def train_count(self) -> int:
        """Return N."""
        return len(self._file["train_id"])

    @property
    def top_k(self) -> int:
        """Return the length of the rankings."""
        return int(self._root["top_index"].shape[1])

    @property
    def has_all_scores(self) -> bool:
        """Return whether the file holds the (Q, N) scores and not the rankings alone."""
        return "scores" in self._root

    @property
    def has_errors(self) -> bool:
        """Return whether scores have error bars."""
        return has_errors(self._root)

    @cached_property
    def seen(self) -> NDArray[np.float32] | None:
        """Return the probability that the model saw each training image, (N,), read once.

        NaN where it is not known; None in files without.
        """
        return self._file[SEEN][:] if SEEN in self._file else None

    def query_id(self, index: int) -> str:
        """Return the sample id of a query."""
        return text_of(self._file["query_id"][index])

    def train_id(self, index: int) -> str:
        """Return the sample id of a training image."""
        return text_of(self._file["train_id"][index])

    def count(self, side: Side) -> int:
        """Return Q or N."""
        return len(self._file[f"{side}_id"])

    def removed(self, side: Side) -> NDArray[np.int64]:
        """Return the numbers of the samples of one side that were removed: they have no scores."""
        name = f"{side}_removed"
        rows = self._file[name][:] if name in self._file else np.empty(0, np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < self.count(side):
            raise self._corrupt(f"{name} names a sample outside 0 to {self.count(side) - 1}")
        return rows

    def left(self, side: Side) -> int:
        """Return how many samples of one side were not removed."""
        return self.count(side) - len(self.removed(side))

    def images(self, side: Side) -> str:
        """Return the hash of the images of one side; "" if the file does not tell."""
        return str(self.attributes.get(f"{side}_images", ""))

    def ids(self, side: Side) -> FixedWidthNames:
        """Return the Q or N sample ids of one side (UTF-8), which are read when asked for."""
        return FixedWidthNames(self._file[f"{side}_id"])

    def top(self, query: int, count: int) -> list[Ranked]:
        """Return the training images with the highest scores, at most `count`, best first."""
        return self._ranked("top", query, count)

    def bottom(self, query: int, count: int) -> list[Ranked]:
        """Return the training images with the lowest scores, at most `count`, lowest first."""
        return self._ranked("bottom", query, count)

    def top_indices(self, count: int) -> NDArray[np.int64]:
        """Return the best `count` slots of all queries, (Q, count) int64; -1 is unused."""
        indices: NDArray[np.int64] = self._root["top_index"][:, :count]
        self._require_range(indices)
        return indices

    def scores(self, query: int) -> NDArray[np.float32]:
        """Return all scores of one query, (N,) float32; NaN is a quarantined sample."""
        row: NDArray[np.float32] = self._root["scores"][query]
        return row

    def errors(self, query: int) -> NDArray[np.float32]:
        """Return the standard errors of all scores of one query, (N,) float32."""
        row: NDArray[np.float32] = self._root["score_error"][query]
        return row

    def ranked_errors(self, end: End, query: int) -> NDArray[np.float32]:
        """Return the standard errors along a ranking of one query, (top_k,) float32."""
        row: NDArray[np.float32] = self._root[f"{end}_score_error"][query]
        return row

    def block(self, queries: slice, columns: slice) -> NDArray[np.float32]:
        """Return the scores of some queries for some training images; NaN is quarantined."""
        block: NDArray[np.float32] = self._root["scores"][queries, columns]
        return block

    def query_ids(self) -> list[str]:
        """Return the sample ids of all queries."""
        return [text_of(value) for value in self._file["query_id"][:]]

    def score_blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the whole of `scores` once, in blocks of bounded size."""
        rows = max(1, _BLOCK_SCORES // max(1, self.train_count))
        columns = min(self.train_count, _BLOCK_SCORES)
        for row in range(0, self.query_count, rows):
            for column in range(0, self.train_count, columns):
                yield self._root["scores"][row : row + rows, column : column + columns]

    def score_range(self) -> tuple[float, float] | None:
        """Return the lowest and highest score of all queries; None if there is no score."""
        extremes = np.concatenate([self._root[name][:, 0] for name in RANKINGS[1::2]])
        finite = extremes[np.isfinite(extremes)]
        return (float(finite.min()), float(finite.max())) if len(finite) else None

    def _ranked(self, end: End, query: int, count: int) -> list[Ranked]:
        indices = self._root[f"{end}_index"][query, :count]
        scores = self._root[f"{end}_score"][query, :count]
        self._require_range(indices)
        errors = self.ranked_errors(end, query)[:count].tolist() if self.has_errors else None
        columns = (indices.tolist(), scores.tolist(), errors or [None] * len(indices))
        ranked = [
            Ranked(rank, index, score, error)
            for rank, (index, score, error) in enumerate(zip(*columns, strict=True), start=1)
            if index >= 0
        ]
        if not all(math.isfinite(entry.score) for entry in ranked):
            raise self._corrupt(f"a ranked score of query {query} is not a number")
        return ranked

    def _require_range(self, indices: NDArray[np.int64]) -> None:
        if indices.size and not (indices.min() >= -1 and indices.max() < self.train_count):
            raise self._corrupt(f"a ranking names an image outside 0 to {self.train_count - 1}")

    def _corrupt(self, what: str) -> CorruptFileError:
        return CorruptFileError(what, where=self.path, remedy=WRITE_AGAIN)
