"""The models whose scores are averaged: their stores and Gram matrices, opened and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.picture_identity import are_comparable
from dtrak_stream.errors import ConfigurationError, refuse_differences
from dtrak_stream.features.comparing import is_along_a_path, refuse_other_features
from dtrak_stream.gram.file import Gram
from dtrak_stream.methods import METHODS, Method, refuse_other_output_function
from dtrak_stream.scoring.given_stores import GivenStores, given_stores
from dtrak_stream.scoring.options import ScoreConfig
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_set import NO_ROWS, RowSet
from dtrak_stream.support.names import first_difference, name_at


@dataclass(frozen=True)
class Model:
    """One model's features.

    Attributes
    ----------
    train, query
        The two stores.
    gram
        Gram matrix of the training store; None for a method without a kernel.
    weight
        Share of this model in the average of its stream.
    stream
        Number of the stream of the method's sum that they are of.
    """

    train: FeatureStore
    query: FeatureStore
    gram: Gram | None
    weight: float
    stream: int = 0


@dataclass(frozen=True)
class Ensemble:
    """One model or several, of the same samples in the same order.

    Attributes
    ----------
    models
        All of the first stream, then all of the second, and so on.
    """

    models: tuple[Model, ...]

    @property
    def streams(self) -> tuple[tuple[int, ...], ...]:
        """Return for each stream which models it is averaged over."""
        numbers = [one.stream for one in self.models]
        return tuple(
            tuple(place for place, number in enumerate(numbers) if number == stream)
            for stream in range(max(numbers) + 1)
        )

    @property
    def first(self) -> Model:
        """Return the model that sample ids are taken from."""
        return self.models[0]

    @cached_property
    def train_usable(self) -> NDArray[np.bool_]:
        """Return which training samples have a feature in every model: (N,)."""
        usable: NDArray[np.bool_] = np.all([one.train.usable() for one in self.models], axis=0)
        return usable

    @cached_property
    def query_usable(self) -> NDArray[np.bool_]:
        """Return which queries have a feature in every model: (Q,)."""
        usable: NDArray[np.bool_] = np.all([one.query.usable() for one in self.models], axis=0)
        return usable

    @cached_property
    def train_removed(self) -> RowSet:
        """Return which training samples were removed from a store of any model."""
        return _removed_from(one.train for one in self.models)

    @cached_property
    def query_removed(self) -> RowSet:
        """Return which queries were removed from a store of any model."""
        return _removed_from(one.query for one in self.models)

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


def open_ensemble(method: Method, config: ScoreConfig) -> Ensemble:
    """Open everything a run reads, and refuse what does not fit together.

    Raises
    ------
    FingerprintMismatchError
        If query features or a Gram matrix do not belong to the training features.
    ConfigurationError
        If the numbers of stores differ or are not those of the method's streams, a Gram matrix is
        missing, the method does not take such features, or weights are malformed.
    """
    given = given_stores(method, config)
    models: list[Model] = []
    for stream in range(len(method.streams)):
        own = [one for one in given if one.stream == stream]
        weights = checkpoint_weights(method, config.options.checkpoint_weights, len(own))
        models += map(partial(_open_model, method), own, weights)
    return Ensemble(tuple(models))


def refuse_other_samples(ensemble: Ensemble) -> None:
    """Refuse models that were not given the same samples; reads all sample ids of several models.

    Raises
    ------
    FingerprintMismatchError
        Saying what differs.
    """
    first = ensemble.first
    for model in ensemble.models[1:]:
        _refuse_other_samples(first.train, model.train)
        _refuse_other_samples(first.query, model.query)


def _open_model(method: Method, given: GivenStores, weight: float) -> Model:
    train, query = FeatureStore.open(given.train), FeatureStore.open(given.query)
    refuse_other_output_function(method, train.fingerprint.output_function, given.stream)
    refuse_other_queries(method, train, query, given.query)
    gram = None
    if given.gram is not None:
        gram = Gram.open(given.gram)
        gram.refuse_earlier(train)
        gram.refuse_other(train.layout.state)
    return Model(train, query, gram, weight, given.stream)


def refuse_other_queries(
    method: Method, train: FeatureStore, query: FeatureStore, where: Path
) -> None:
    """Refuse queries whose features are not what the method compares with those of `train`.

    Raises
    ------
    ConfigurationError, FingerprintMismatchError
        Saying what the queries are, and should be.
    """
    wanted, found = method.query_output_function, query.fingerprint.output_function
    if wanted is not None and found != wanted:
        raise ConfigurationError(
            f"{method.name} takes queries of {wanted}, not of {found}",
            where=where,
            remedy="save the sampling path with dtrak-stream generate --save-trajectory and "
            f"featurize it with dtrak-stream featurize --output-function '{wanted}'",
        )
    if wanted is None and is_along_a_path(found):
        raise ConfigurationError(
            f"{method.name} takes no queries of {found}",
            where=where,
            remedy="use --method journey-trak or journey-trak-averaged, or featurize the queries "
            f"with --output-function {train.fingerprint.output_function}",
        )
    refuse_other_features(train.fingerprint, query.fingerprint, where=where)


def _refuse_other_samples(first: FeatureStore, other: FeatureStore) -> None:
    refuse_differences(
        _differences(first, other),
        where=other.layout.root,
        remedy="featurize the same images in the same order with every model",
    )


def _differences(first: FeatureStore, other: FeatureStore) -> Iterator[tuple[str, object, object]]:
    yield "number of samples", len(first), len(other)
    row = first_difference(first.ids, other.ids)
    if row is not None:
        yield f"id of sample {row}", name_at(first.ids, row), name_at(other.ids, row)
    images = images_of(first.layout), images_of(other.layout)
    # brought to other shapes, the same images have other hashes
    if are_comparable(*images) and first.fingerprint.image_shape == other.fingerprint.image_shape:
        yield "hash of the images", *images


def checkpoint_weights(method: Method, text: str, models: int) -> Sequence[float]:
    """Return the share of each model in the average, summing to 1.

    Raises
    ------
    ConfigurationError
        If they are not one number for each model, none negative, or the method takes none.
    """
    if text == "equal":
        return [1 / models] * models
    try:
        weights = [float(word) for word in text.split(",")]
    except ValueError:
        weights = []
    valid = all(0 <= weight < float("inf") for weight in weights) and sum(weights) > 0
    if not method.weighs_checkpoints or len(weights) != models or not valid:
        weighed = [one.name for one in METHODS.values() if one.weighs_checkpoints]
        raise ConfigurationError(
            f"not a weight for each of {models} checkpoints of {' or '.join(weighed)}",
            where=f"--checkpoint-weights {text}",
            remedy="use equal, or as many numbers as there are --train stores, such as 1,0.5",
        )
    return [weight / sum(weights) for weight in weights]
