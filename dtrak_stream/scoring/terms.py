"""The terms that scores add up: each the features of one model, with its share of an average.

A score is a sum over the streams of a method, of what is made of the average of each: over models,
over probes, over timesteps that were given a store each. All of these are terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.gram.file import Gram
from dtrak_stream.scoring.halves import HALVES, HalfSketch, half_gram
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_set import NO_ROWS, RowSet


@dataclass(frozen=True)
class Term:
    """One term of an average.

    Attributes
    ----------
    train, query
        The two stores of features.
    gram
        Gram matrix of the training store; None for a method without a kernel.
    weight
        Its share in the average of its stream.
    stream
        Number of the stream of the method's sum.
    number
        Its own number: that of the whole features, for half of them.
    variant
        Which average: 0 of the whole features, 1 and 2 of the two halves.
    """

    train: FeatureStore
    query: FeatureStore
    gram: Gram | None
    weight: float = 1.0
    stream: int = 0
    number: int = 0
    variant: int = 0

    @property
    def facts_name(self) -> str:
        """Return the name under which what is told of its kernel is kept."""
        return f"kernel-{self.number:05d}"

    @property
    def place(self) -> tuple[int, int]:
        """Return which average it is a term of."""
        return self.stream, self.variant

    def halved(self, variant: int, memory_limit: int, *, visible: bool) -> Term:
        """Return the same seen through a half of each feature; computes the Gram matrix of that."""
        half = list(HALVES)[variant - 1]
        train, query, gram = HalfSketch(self.train, half), HalfSketch(self.query, half), self.gram
        if gram is not None:
            gram = half_gram(train, half, gram.path, memory_limit=memory_limit, visible=visible)
        return replace(self, train=train, query=query, gram=gram, variant=variant)


@dataclass(frozen=True)
class Terms:
    """All terms of a score, of the same samples in the same order.

    Attributes
    ----------
    each
        Average by average: all of the first stream, then all of the second, and so on; of each,
        those of the whole features first.
    """

    each: tuple[Term, ...]

    def with_halves(self, memory_limit: int, *, visible: bool) -> Terms:
        """Return these and their halves, for error bars; computes missing Gram matrices."""
        return Terms(
            tuple(
                term.halved(variant, memory_limit, visible=visible) if variant else term
                for stream in self.streams
                for variant in range(1 + len(HALVES))
                for term in stream
            )
        )

    @property
    def whole(self) -> tuple[Term, ...]:
        """Return those of whole features, by their numbers."""
        return tuple(term for term in self.each if not term.variant)

    @property
    def streams(self) -> tuple[tuple[Term, ...], ...]:
        """Return for each stream what it is the average of."""
        numbers = range(1 + max(term.stream for term in self.each))
        return tuple(tuple(one for one in self.whole if one.stream == each) for each in numbers)

    @property
    def variants(self) -> int:
        """Return V, the number of averages of a stream: 1, or 3 with error bars."""
        return 1 + max(term.variant for term in self.each)

    @property
    def first(self) -> Term:
        """Return the term that sample ids are taken from."""
        return self.each[0]

    @cached_property
    def train_usable(self) -> NDArray[np.bool_]:
        """Return which training samples have a feature in every term: (N,)."""
        usable: NDArray[np.bool_] = np.all([one.train.usable() for one in self.whole], axis=0)
        return usable

    @cached_property
    def query_usable(self) -> NDArray[np.bool_]:
        """Return which queries have a feature in every term: (Q,)."""
        usable: NDArray[np.bool_] = np.all([one.query.usable() for one in self.whole], axis=0)
        return usable

    @cached_property
    def train_removed(self) -> RowSet:
        """Return which training samples were removed from a store of any term."""
        return _removed_from(one.train for one in self.whole)

    @cached_property
    def query_removed(self) -> RowSet:
        """Return which queries were removed from a store of any term."""
        return _removed_from(one.query for one in self.whole)

    @property
    def quarantined_train(self) -> int:
        """Return how many training samples have no scores though they were not removed."""
        return _quarantined(self.train_usable, self.train_removed)

    @property
    def quarantined_query(self) -> int:
        """Return how many queries have no scores though they were not removed."""
        return _quarantined(self.query_usable, self.query_removed)

    @property
    def quarantined(self) -> int:
        """Return how many samples of either set have no scores though they were not removed."""
        return self.quarantined_train + self.quarantined_query


def _removed_from(stores: Iterable[FeatureStore]) -> RowSet:
    removed = NO_ROWS
    for store in stores:
        removed = removed | store.layout.removed
    return removed


def _quarantined(usable: NDArray[np.bool_], removed: RowSet) -> int:
    left_out = ~usable
    left_out[removed.rows] = False
    return int(left_out.sum())
