"""Scores by every method of the table: from features, or from retrained models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from dtrak_stream.methods import find_method
from dtrak_stream.scoring.options import ScoreConfig, ScoreResult, used_by
from dtrak_stream.scoring.run import score

if TYPE_CHECKING:
    from dtrak_stream.evaluation.subset_scores.run import SubsetScoreResult


def score_by_any_method(config: ScoreConfig) -> ScoreResult | SubsetScoreResult:
    """Score as `score` does, or as `score_from_subsets` does for methods that need `--truth`.

    Raises
    ------
    ConfigurationError
        If such a method is given no truth file, or an option that means nothing for it.
    DtrakStreamError
        Whatever the one or the other raises.
    """
    method = find_method(config.options.method)
    if method.needs != "subsets" or config.truth is None:
        return score(config)
    used_by(method, config)
    # scikit-learn takes a second to import, and most methods need none of it
    from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
    from dtrak_stream.evaluation.subset_scores.run import score_from_subsets

    return score_from_subsets(
        SubsetScoreConfig(
            truth=config.truth,
            out=config.out,
            method=cast(Literal["datamodel", "empirical-influence"], method.name),
            loss_key=config.loss_key,
            subsets=config.subsets,
            top_k=config.options.top_k,
            memory_limit=config.memory_limit,
            quiet=config.quiet,
        )
    )
