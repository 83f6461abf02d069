"""What weighting by the probability costs where the model saw all candidates: the LDS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Subject, digits
from dtrak_stream.benchmark.model_dependence.models import Pool
from dtrak_stream.benchmark.model_dependence.scoring import feature_kinds
from dtrak_stream.benchmark.seen.options import SeenBenchConfig
from dtrak_stream.benchmark.seen.proponents import MODES
from dtrak_stream.benchmark.seen.residuals import OTHER, POOL, Pixels, kinds, residual_store
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.estimate import Values, estimate_gain, estimate_lds
from dtrak_stream.evaluation.lds.judge import Judge, open_judge
from dtrak_stream.evaluation.lds.predictions import sum_scores
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.methods import find_method
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.seen_images import score_factors
from dtrak_stream.seen.judgement import judge, residuals_in
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.store_set import bandwidth_of

Paths = tuple[Path, ...]


@dataclass(frozen=True)
class Members:
    """The full model, whose training images are the candidates, and what is known of it.

    Attributes
    ----------
    config
        The options.
    subject
        Model, images, queries and truth.
    residuals
        The stores of residuals of the candidates and of other digits.
    probability
        (N,) that each candidate was seen, by the kind of residual.
    """

    config: SeenBenchConfig
    subject: Subject
    residuals: tuple[Path, Path]
    probability: Mapping[str, NDArray[np.float32]]


def open_members(config: SeenBenchConfig, pool: Pool, places: tuple[Pixels, Pixels]) -> Members:
    """Compute the residuals of the full model.

    Parameters
    ----------
    config, pool
        The options, and what the model was trained on.
    places
        (N, D) and (M, D), where candidates and other digits lie.
    """
    ours, theirs = (residual_store(config, pool, pool.model, name) for name in (POOL, OTHER))
    candidates, held_out = (residuals_in(FeatureStore.open(each)) for each in (ours, theirs))
    by_kind = kinds(candidates, held_out, places)
    probability = {kind: judge(*pair).probability for kind, pair in by_kind.items()}
    return Members(config, digits(config), (ours, theirs), probability)


def member_rows(members: Members) -> Iterator[dict[str, Any]]:
    """Yield for each method, set of queries, residual and mode the LDS, and its gain over `off`.

    Held-out images are told to all of them: what chooses the damping is the same.
    """
    for features, methods in feature_kinds(members.config.of_halves).items():
        folder = members.config.work / "members" / methods[0]  # whatever others are asked
        for method in methods:
            yield from _rows(members, method, features, folder)


def _rows(
    members: Members, method: str, features: tuple[FeatureOptions, ...], folder: Path
) -> Iterator[dict[str, Any]]:
    subject = members.subject
    trains = tuple(
        _featurized(members, each, subject.train, folder / f"train-{stream}")
        for stream, each in enumerate(features)
    )
    grams = tuple(folder / f"gram-{stream}.h5" for stream in range(len(trains)))
    if find_method(method).uses_kernel:
        for train, gram in zip(trains, grams, strict=True):
            compute_gram(GramConfig(train, gram, quiet=True))
    for name in QUERY_SETS:
        queries = tuple(
            _featurized(
                members, each, subject.queries(name), folder / f"{name}-{stream}", trains[stream]
            )
            for stream, each in enumerate(features)
        )
        yield from _judged(members, method, name, (trains, queries, grams))


def _judged(
    members: Members, method: str, name: str, stores: tuple[Paths, Paths, Paths]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each kind of residual and mode."""
    judge_of = open_judge(LdsConfig((), members.subject.truth, name, quiet=True))
    scores = _scores(members, method, stores, judge_of)
    mask = judge_of.truth.mask[judge_of.subsets].astype(np.float64)  # (M, N)
    losses = judge_of.losses[:, judge_of.known]
    plain = -(mask @ scores.T)[:, judge_of.known]
    for kind, probability in members.probability.items():
        for mode in MODES:
            predictions = -(mask @ (scores * score_factors(probability, mode)).T)
            found = estimate_lds(predictions[:, judge_of.known], losses)
            gain, error = estimate_gain(predictions[:, judge_of.known], plain, losses)
            yield {
                "method": method,
                "queries": name,
                "residuals": kind,
                "seen": mode,
                "lds": found.value,
                "standard_error": found.standard_error,
                "gain": gain,
                "gain_error": error,
            }


def _scores(
    members: Members, method: str, stores: tuple[Paths, Paths, Paths], judge_of: Judge
) -> Values:
    """Return the scores of candidates and queries in the order of the truth, (Q, N)."""
    trains, queries, grams = stores
    out = trains[0].parent / "scores.h5"
    options = ScoreOptions(method, top_k=1, save_scores="yes")
    kernels = grams if find_method(method).uses_kernel else None
    candidates, held_out = members.residuals
    config = ScoreConfig(trains, queries, kernels, out, options, quiet=True)
    score(replace(config, residuals=candidates, held_out=held_out))
    with ScoresFile(out) as file:
        summed = sum_scores(file, judge_of.truth, judge_of.key, judge_of.subsets, visible=False)
        assert not summed.reordered  # both are of the images as they come along
        found = file.block(slice(None), slice(None)).astype(np.float64)
    out.unlink()
    return found


def _featurized(
    members: Members, features: FeatureOptions, images: str, store: Path, like: Path | None = None
) -> Path:
    """Compute features, of the bandwidth that another store has where there is one."""
    config = FeaturizeConfig(
        images,
        store,
        members.subject.model,
        features=replace(features, bandwidth=None if like is None else bandwidth_of(like)),
        quiet=members.config.quiet,
    )
    return featurize(config).path
