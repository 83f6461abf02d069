"""Recipes judged: streams are added up, and what they predict is held beside what best does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Subject
from dtrak_stream.benchmark.search.comparing import paired_difference
from dtrak_stream.benchmark.search.options import SearchConfig
from dtrak_stream.benchmark.search.recipes import BASELINE, Features, Recipe, Term, Way
from dtrak_stream.benchmark.search.streams import StreamJob, kept_scores
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.estimate import estimate_lds
from dtrak_stream.evaluation.lds.judge import open_judge
from dtrak_stream.scoring.transforms import TRANSFORMS, Transform
from dtrak_stream.support.progress import progress

Part = Literal["even", "odd", "all"]
PARTS: tuple[Part, ...] = ("even", "odd", "all")
"""Queries to choose by, to report, and both."""
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """What all recipes of a data set are judged by.

    Attributes
    ----------
    subject
        The data set.
    jobs
        Its streams, by their features.
    """

    subject: Subject
    jobs: dict[Features, StreamJob]

    def predictions(self, recipe: Recipe, queries: str) -> Values:
        """Return the loss of each query under each model, as a recipe predicts it: (M, Q)."""
        scores = sum_of_terms(
            [self._scores(term, queries) for term in recipe.terms],
            [term.weight for term in recipe.terms],
        )
        return -(self.mask(queries).astype(np.float64) @ scores.T)

    def mask(self, queries: str) -> NDArray[np.bool_]:
        """Return which images each model was trained on: (M, N)."""
        return np.asarray(open_judge(self._config(queries, "all")).truth.mask, dtype=np.bool_)

    def losses(self, queries: str, part: Part) -> tuple[Values, NDArray[np.bool_]]:
        """Return all losses (M, Q), and which queries of a part can be judged (Q,)."""
        judge = open_judge(self._config(queries, part))
        return judge.losses, judge.known

    def milliseconds(self, recipe: Recipe, samples: int) -> float:
        """Return the processor time that the features of a training image took."""
        kinds = dict.fromkeys(term.features for term in recipe.terms)
        ways: dict[Features, Way] = {term.features: term.way for term in recipe.terms}
        seconds = sum(kept_scores(self.jobs[each], ways[each]).seconds for each in kinds)
        return 1000 * seconds / samples

    def _scores(self, term: Term, queries: str) -> Values:
        found = kept_scores(self.jobs[term.features], term.way).scores[queries]
        return transformed(found, replace(TRANSFORMS[term.transform], of_each=term.of_each_probe))

    def _config(self, queries: str, part: Part) -> LdsConfig:
        return LdsConfig((), self.subject.truth, queries, queries=part, quiet=True)


def transformed(scores: NDArray[np.float32], transform: Transform) -> Values:
    """Return T of the mean over probes of scores (J, Q, N), or the mean of T of each: (Q, N)."""
    exact: Any = scores.astype(np.float64)
    return np.asarray(transform.mean(transform.each(exact).mean(axis=0)), np.float64)


def sum_of_terms(terms: Sequence[Values], weights: Sequence[float]) -> Values:
    """Return the sum of w T(S) / mean |T(S)| over terms (Q, N)."""
    total = np.zeros_like(terms[0])
    for term, weight in zip(terms, weights, strict=True):
        total += weight / np.abs(term).mean() * term
    return total


def judged_recipes(
    config: SearchConfig, subject: Subject, recipes: Sequence[Recipe], jobs: Sequence[StreamJob]
) -> list[dict[str, Any]]:
    """Return what came out for each recipe, by set and part of queries, and beside `best`."""
    bench = Bench(subject, {job.features: job for job in jobs})
    baseline = next(recipe for recipe in recipes if recipe.name == BASELINE)
    of_best = {queries: bench.predictions(baseline, queries) for queries in QUERY_SETS}
    rows = []
    with progress(
        len(recipes),
        description=f"judging {subject.name}",
        unit="recipe",
        visible=not config.quiet,
    ) as bar:
        for recipe in recipes:
            rows.append(_judged(bench, recipe, of_best))
            bar.update()
    return rows


def _judged(bench: Bench, recipe: Recipe, of_best: dict[str, Values]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "data": bench.subject.name,
        "group": recipe.group,
        "recipe": recipe.name,
        "gradients": recipe.gradients,
        "forwards": recipe.forwards,
        "bytes": recipe.bytes_an_image,
        "milliseconds": bench.milliseconds(recipe, bench.mask(QUERY_SETS[0]).shape[1]),
    }
    for queries in QUERY_SETS:
        ours, mask = bench.predictions(recipe, queries), bench.mask(queries)
        for part in PARTS:
            losses, known = bench.losses(queries, part)
            estimate = estimate_lds(ours[:, known], losses[:, known])
            beside = paired_difference(
                ours[:, known], of_best[queries][:, known], losses[:, known], mask
            )
            row[f"{queries}-{part}"] = {
                "lds": estimate.value,
                "standard_error": estimate.standard_error,
                **beside.numbers(),
            }
    return row
