"""The benchmark of model dependence: models, scores, and what they are asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrak_stream.benchmark.model_dependence.distances import pixel_distances
from dtrak_stream.benchmark.model_dependence.left_out import left_out_rows
from dtrak_stream.benchmark.model_dependence.models import (
    FULL,
    Design,
    Pool,
    draw_design,
    make_models,
    open_pool,
    pixels,
)
from dtrak_stream.benchmark.model_dependence.options import ModelDependenceConfig
from dtrak_stream.benchmark.model_dependence.page import as_markdown
from dtrak_stream.benchmark.model_dependence.repeated import repeated_rows
from dtrak_stream.benchmark.model_dependence.scoring import (
    QUERIES_OF_REPEATED,
    VALIDATION,
    Scores,
    all_scores,
    asked,
    open_queries,
    scoring_jobs,
)
from dtrak_stream.benchmark.model_dependence.seen_half import seen_half_rows
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    write_results,
)


def measure_model_dependence(config: ModelDependenceConfig) -> BenchmarkResult:
    """Ask all methods all questions; see `ModelDependenceConfig`.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. The same call goes on where it stopped.
    DtrakStreamError
        If an option, the model or a source is refused.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    pool = open_pool(config)
    design = draw_design(len(pool.images), config.repeated, config.subset_seed)
    if config.repeated:
        open_queries(config, pool, VALIDATION)  # refused, if it is, before anything is trained
    make_models(config, pool, design)
    scores = all_scores(scoring_jobs(config, pool), config)
    results = _results(config, pool, design, scores)
    return write_results(config.out, config, measured_on, results, as_markdown(results))


def _results(
    config: ModelDependenceConfig, pool: Pool, design: Design, scores: Scores
) -> dict[str, Any]:
    methods = config.method_names
    images = pixels(pool.images)
    near = {
        name: pixel_distances(pixels(open_queries(config, pool, name)), images)
        for name in asked(config)[FULL]
    }
    results: dict[str, Any] = {
        "benchmark": "model-dependence",
        "images": len(images),
        "generated": config.generated,
        "repeated": config.repeated,
        "seen_half": seen_half_rows(methods, scores, design),
        "left_out": left_out_rows(methods, scores, design, pixel_distances(images, images), near),
    }
    if config.repeated:
        met = np.concatenate([near[name] for name in QUERIES_OF_REPEATED])
        results["validation"] = len(near[VALIDATION])
        results["repeated_rows"] = repeated_rows(methods, scores, design, met)
    return results
