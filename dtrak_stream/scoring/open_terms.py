"""The terms of a score opened: their stores and Gram matrices, compared with one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from dtrak_stream.data.picture_identity import are_comparable
from dtrak_stream.errors import ConfigurationError, refuse_differences
from dtrak_stream.features.comparing import is_along_a_path, refuse_other_features
from dtrak_stream.gram.file import Gram
from dtrak_stream.methods import METHODS, Method, refuse_other_output_function
from dtrak_stream.scoring.given_stores import GivenStores, given_stores
from dtrak_stream.scoring.options import ScoreConfig
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.scoring.terms import Term, Terms
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.names import first_difference, name_at


def open_terms(method: Method, config: ScoreConfig) -> Terms:
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
    models = 1 + max(one.model for one in given)
    weights = checkpoint_weights(method, config.options.checkpoint_weights, models)
    beside = Counter((one.stream, one.model) for one in given)
    return Terms(
        tuple(
            _open_term(method, one, weights[one.model] / beside[one.stream, one.model], number)
            for number, one in enumerate(given)
        )
    )


def refuse_other_samples(terms: Terms) -> None:
    """Refuse terms that are not of the same samples; reads all sample ids of several.

    Raises
    ------
    FingerprintMismatchError
        Saying what differs.
    """
    for term in terms.each[1:]:
        _refuse_other_samples(terms.first.train, term.train)
        _refuse_other_samples(terms.first.query, term.query)


def _open_term(method: Method, given: GivenStores, weight: float, number: int) -> Term:
    train, query = FeatureStore.open(given.train), FeatureStore.open(given.query)
    refuse_other_output_function(method, train.fingerprint.output_function, given.stream)
    refuse_other_queries(method, train, query, given.query)
    gram = None
    if given.gram is not None:
        gram = Gram.open(given.gram)
        gram.refuse_earlier(train)
        gram.refuse_other(train.layout.state)
    return Term(train, query, gram, weight, given.stream, number)


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
