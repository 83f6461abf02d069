"""What a scores file tells of what it was made of, and of each lambda."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.methods import Stream
from dtrak_stream.scoring.removed_since import store_places
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.scoring.scorer import Scorer
from dtrak_stream.scoring.stream_scales import StreamScales
from dtrak_stream.scoring.term_scores import kernel_facts
from dtrak_stream.scoring.terms import Terms
from dtrak_stream.support.checkpoints import Checkpoints

SIGN_CONVENTION = (
    "positive = proponent: including the sample lowers the query's loss; "
    "an LDS correlates the loss with minus the score"
)

_BETWEEN_STREAMS, _BETWEEN_TERMS = " + ", " and "


def identity_of_streams(streams: Sequence[Stream]) -> dict[str, Any]:
    """Return what decides a sum of streams; nothing where there is one only.

    Attributes of the file: `streams`, their names in order; `transform_of_streams`, and
    `weight_of_streams` and `scaled_streams`, as the methods table has them.
    """
    if len(streams) == 1:
        return {}
    return {
        "streams": ",".join(stream.name for stream in streams),
        "transform_of_streams": ",".join(stream.transform for stream in streams),
        "weight_of_streams": ",".join(f"{stream.weight:g}" for stream in streams),
        "scaled_streams": ",".join(stream.name for stream in streams if stream.scaled),
    }


def store_attributes(terms: Terms, path: Path) -> dict[str, Any]:
    """Return what the scores file at `path` tells about the features it was made of.

    Of a sum of streams, what they do not have in common stands there for each, with + between; of
    the stores that one is averaged over, such as probes or kernels of a timestep each, with "and".
    """
    train, query = terms.first.train, terms.first.query
    numbers = [len(stream) for stream in terms.streams]
    return {
        **_of_features(terms),
        **({"stores_of_streams": ",".join(map(str, numbers))} if len(numbers) > 1 else {}),
        "num_models": max(numbers),
        "image_shape": train.fingerprint.image_shape,
        "train_samples": len(train),
        "query_samples": len(query),
        "train_images": images_of(train.layout),
        "query_images": images_of(query.layout),
        "quarantined_train": terms.quarantined_train,
        "quarantined_query": terms.quarantined_query,
        "train_store": store_places([one.train.layout for one in terms.each], path),
        "query_store": store_places([one.query.layout for one in terms.each], path),
        "sign_convention": SIGN_CONVENTION,
    }


def _of_features(terms: Terms) -> dict[str, Any]:
    """Return the options that features were made with."""
    rows = []
    for term in terms.whole:
        fingerprint = term.train.fingerprint
        rows.append(
            {
                "output_function": fingerprint.output_function,
                "timesteps": ",".join(map(str, fingerprint.timesteps)),
                "noise": fingerprint.noise_keying,
                "noise_draws": fingerprint.noise_draws,
                "projector": fingerprint.projector,
                "proj_dim": fingerprint.proj_dim,
                "num_parameters": fingerprint.num_parameters,
                "seed": fingerprint.seed,
            }
        )
    return {name: _in_common(terms, [row[name] for row in rows]) for name in rows[0]}


def _in_common(terms: Terms, values: list[Any]) -> Any:
    """Return the value of all terms, or the different ones as text."""
    streams = []
    for stream in terms.streams:
        different = list(dict.fromkeys(values[term.number] for term in stream))
        streams.append(_joined(different, _BETWEEN_TERMS))
    return _joined(streams, _BETWEEN_STREAMS)


def _joined(values: list[Any], between: str) -> Any:
    return values[0] if len(set(values)) == 1 else between.join(map(str, values))


def lambda_attributes(scorer: Scorer, checkpoints: Checkpoints) -> list[dict[str, Any]]:
    """Return the attributes of each lambda.

    Of several models, the means, and all of them as `NAME_of_models`. Of a sum of streams, the
    means over each stream's models as `NAME_of_streams`, and `scale_of_streams`, what each was
    divided by.
    """
    scales = StreamScales(scorer.terms, scorer.streams, checkpoints)
    attributes: list[dict[str, Any]] = [{} for _ in range(scorer.lambdas)]
    for each, told in enumerate(attributes):
        if len(scorer.streams) > 1:
            told["scale_of_streams"] = np.array(
                [scales.of_lambda(stream, each) for stream in range(len(scorer.streams))]
            )
        if scorer.choices:
            told |= _of_kernels(scorer, checkpoints, each)
    return attributes


def _of_kernels(scorer: Scorer, checkpoints: Checkpoints, each: int) -> dict[str, Any]:
    """Return what is told of one lambda in the kernels of all models."""
    terms = scorer.terms
    rows = [kernel_facts(term, checkpoints).attributes(each) for term in terms.whole]
    of_terms = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    told = dict(_means(terms, of_terms))
    if len(rows) > len(terms.streams):
        told |= {f"{name}_of_models": values for name, values in of_terms.items()}
    forms = [term.gram.form for term in terms.whole if term.gram]
    return told | {"gram_form": _in_common(terms, forms), "kernel_solver": scorer.plan.solver}


def _means(terms: Terms, of_terms: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the means over all terms, or over those of each stream."""
    for name, values in of_terms.items():
        means = np.array(
            [values[[term.number for term in stream]].mean() for stream in terms.streams]
        )
        if len(means) > 1:
            yield f"{name}_of_streams", means
        else:
            yield name, float(means[0])
