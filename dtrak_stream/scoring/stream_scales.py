"""What the streams of a sum are divided by: the mean size of each one's scores, over a sample.

Scores of the sample are computed as one block before any other, by each term once, and kept until
all scores are written.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError, CorruptFileError
from dtrak_stream.methods import Stream
from dtrak_stream.scoring.sampled import ROWS_OF_RUN, SAMPLED_QUERIES, SAMPLED_RUNS, spread
from dtrak_stream.scoring.term_scores import TermScores
from dtrak_stream.scoring.terms import Term, Terms
from dtrak_stream.scoring.transforms import TRANSFORMS
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.checkpoints import Checkpoints


class StreamScales:
    """The scale c of each stream, for each lambda.

    Parameters
    ----------
    terms
        What their averages are of.
    streams
        The streams of the sum.
    checkpoints
        Where the scores of the sample are kept.
    """

    def __init__(self, terms: Terms, streams: tuple[Stream, ...], checkpoints: Checkpoints) -> None:
        self._terms, self._streams, self._checkpoints = terms, streams, checkpoints
        self._found: dict[int, NDArray[np.float64]] = {}

    @cached_property
    def queries(self) -> tuple[range, ...]:
        """Return the queries of the sample."""
        return spread(self._terms.query_usable, SAMPLED_QUERIES, 1)

    @cached_property
    def rows(self) -> tuple[range, ...]:
        """Return the training samples of the sample, in runs."""
        return spread(self._terms.train_usable, SAMPLED_RUNS, ROWS_OF_RUN)

    def lack(self, term: Term) -> bool:
        """Return whether scores of the sample by a term are needed, and not there."""
        needed = self._streams[term.stream].scaled and term.variant == 0
        needed = needed and bool(self.queries and self.rows)
        return needed and self._checkpoints.load(_name(term.number)) is None

    def add(self, term: Term, scores: TermScores) -> None:
        """Keep a term's scores (L, q, n) of the sample."""
        found = [of_rows.copy() for of_rows in scores.of(self.queries, self.rows)]
        self._checkpoints.drop(_name(term.number))
        self._checkpoints.save(_name(term.number), scores=np.concatenate(found, axis=-1))

    def of(self, stream: int) -> NDArray[np.float64] | None:
        """Return c of a stream for each lambda, (L,); None where it is 1.

        Raises
        ------
        ConfigurationError
            If all sampled scores are zero.
        CorruptFileError
            If they were damaged since they were kept.
        """
        if not (self._streams[stream].scaled and self.queries and self.rows):
            return None
        if stream not in self._found:
            self._found[stream] = self._mean_size(stream)
        return self._found[stream]

    def of_lambda(self, stream: int, each: int) -> float:
        """Return c of a stream for one lambda; raises as `of`."""
        found = self.of(stream)
        return 1.0 if found is None else float(found[each])

    def factors(self, stream: int) -> FloatArray | None:
        """Return what a stream's transformed scores are multiplied with, (L,); None for 1."""
        weight, scale = self._streams[stream].weight, self.of(stream)
        if scale is None:
            return None if weight == 1 else np.full(1, weight, np.float32)
        return (weight / scale).astype(np.float32)

    def _mean_size(self, stream: int) -> NDArray[np.float64]:
        kept = [self._sampled(term) for term in self._terms.streams[stream]]
        transformed = TRANSFORMS[self._streams[stream].transform].mean(np.sum(kept, axis=0))
        usable = self._terms.train_usable
        rows = np.concatenate([usable[run.start : run.stop] for run in self.rows])
        sizes = np.abs(transformed[..., rows]).astype(np.float64)  # (L, q, n)
        scale: NDArray[np.float64] = sizes.mean(axis=(1, 2))
        if not (scale > 0).all():
            raise self._without_scale(stream)
        return scale

    def _sampled(self, term: Term) -> FloatArray:
        kept = self._checkpoints.load(_name(term.number))
        if kept is None:
            raise CorruptFileError(
                f"scores that the size of a stream is taken of ({_name(term.number)}) were damaged "
                "since they were written",
                where=self._checkpoints.folder,
                remedy="run the same command again; it computes them anew",
            )
        return kept["scores"]

    def _without_scale(self, stream: int) -> ConfigurationError:
        name = self._streams[stream].name
        return ConfigurationError(
            f"all scores of the stream {name} are zero in a sample of {len(self.queries)} queries, "
            "so that it has no size to be divided by",
            where=self._terms.streams[stream][0].query.layout.root,
            remedy="look at the features of these queries: with other images, --timesteps or "
            "--parameters they are not zero",
        )


def _name(number: int) -> str:
    return f"sample-{number:05d}"
