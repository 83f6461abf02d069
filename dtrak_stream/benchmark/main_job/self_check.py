"""Training images as queries: their strongest proponent should be themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dtrak_stream.benchmark.main_job.options import MainJobConfig
from dtrak_stream.benchmark.main_job.stages import count_images, features_for, featurize_config
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.support.progress import say

METHODS = ("d-trak", "trak")
TRANSFORMS: tuple[Literal["none", "square"], ...] = ("none", "square")
_LIST_LENGTH = 10


@dataclass(frozen=True)
class SelfCheck:
    """How often a training image is found as a proponent of itself.

    Attributes
    ----------
    method, transform, output_function
        How it was scored.
    queries
        Number of training images that were queries.
    top_1_share, top_10_share
        Share of them that are first, or among the first ten, of their own proponents.
    """

    method: str
    transform: str
    output_function: str
    queries: int
    top_1_share: float
    top_10_share: float


@dataclass(frozen=True)
class _Features:
    """Features of one output function: of the training images and of those that are queries."""

    train: Path
    query: Path
    gram: Path


def check_on_itself(config: MainJobConfig, train: Path, folder: Path) -> list[SelfCheck]:
    """Score the first training images as queries, with every method and transform.

    Parameters
    ----------
    config
        The main job.
    train
        Finished store of the training images, for the method of the main job.
    folder
        Where other stores and the scores are written.
    """
    queries = min(config.self_queries, count_images(config, config.train))
    if queries == 0:
        return []
    checks = []
    for method in METHODS:
        function = str(features_for(config, method).output_function)
        same = function == features_for(config, config.score_options.method).output_function
        features = _features(config, method, train if same else None, folder / method, queries)
        for transform, (first, ten) in _shares(config, method, features, folder / method):
            checks.append(SelfCheck(method, transform, function, queries, first, ten))
            say(f"self-check, {method}, transform {transform}: top-1 {first:.1%}, top-10 {ten:.1%}")
    return checks


def _features(
    config: MainJobConfig, method: str, train: Path | None, folder: Path, queries: int
) -> _Features:
    def computed(name: str, limit: int | None) -> Path:
        wanted = featurize_config(
            config, folder / name, method=method, limit=limit, quiet=config.quiet
        )
        return featurize(wanted).path

    train = train or computed("train", None)
    gram = compute_gram(GramConfig(train, folder / "gram.h5", quiet=config.quiet)).path
    return _Features(train, computed("query", queries), gram)


def _shares(
    config: MainJobConfig, method: str, features: _Features, folder: Path
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield each transform with (top-1 share, top-10 share)."""
    for transform in TRANSFORMS:
        options = ScoreOptions(
            method, config.score_options.damping, transform, _LIST_LENGTH, save_scores="no"
        )
        out = folder / f"scores-{transform}.h5"
        score(ScoreConfig(features.train, features.query, features.gram, out, options, quiet=True))
        yield transform, _shares_in(out)


def _shares_in(scores: Path) -> tuple[float, float]:
    with ScoresFile(scores) as file:
        listed = file.top_indices(_LIST_LENGTH)  # (Q, 10)
    own = listed == np.arange(len(listed))[:, None]  # query q is training image q
    return float(own[:, 0].mean()), float(own.any(axis=1).mean())
