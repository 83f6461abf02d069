"""The benchmark of what the model saw: residuals, probabilities, proponents, and the LDS."""

from __future__ import annotations

from typing import Any

from dtrak_stream.benchmark.model_dependence.models import (
    HALVES,
    Design,
    Pool,
    draw_design,
    make_models,
    model_folder,
    open_pool,
)
from dtrak_stream.benchmark.model_dependence.scoring import Scores, all_scores, scoring_jobs
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    write_results,
)
from dtrak_stream.benchmark.seen.draws import (
    Mask,
    Told,
    gain_of_area,
    summary,
    told_by_others,
    told_by_same_writers,
)
from dtrak_stream.benchmark.seen.members import member_rows, open_members
from dtrak_stream.benchmark.seen.options import SeenBenchConfig
from dtrak_stream.benchmark.seen.page import as_markdown
from dtrak_stream.benchmark.seen.proponents import proponent_rows
from dtrak_stream.benchmark.seen.residuals import (
    BESIDE_NEAREST,
    BY_ITSELF,
    NEAREST,
    Pixels,
    all_pixels,
    kinds,
    residuals_of,
)
from dtrak_stream.scoring.neighbours import relative_at_once
from dtrak_stream.seen.detection import Residuals, area_under_curve, true_positives

SAME, OTHER_WRITERS = "same writers", "other writers"
ByKind = dict[tuple[str, str], list[tuple[Residuals, Residuals]]]
"""Residuals of the pool (N,) and of other digits (M,) under each half's model, by their kind and
by where held-out images come from."""


def measure_seen(config: SeenBenchConfig) -> BenchmarkResult:
    """Measure residuals, probabilities, proponents and LDS; see `SeenBenchConfig`.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. The same call goes on where it stopped.
    DtrakStreamError
        If an option or a file is refused.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    of_halves = config.of_halves
    pool = open_pool(of_halves)
    design = draw_design(len(pool.images), 0, of_halves.subset_seed)
    make_models(of_halves, pool, design)
    jobs = [job for job in scoring_jobs(of_halves, pool) if job.model in HALVES]
    scores = all_scores(jobs, of_halves)
    places = all_pixels(config, pool)
    results = {
        "benchmark": "seen",
        "images": len(pool.images),
        "generated": config.generated,
        **_of_halves(config, design, _residuals(config, pool, places), scores),
        "members": list(member_rows(open_members(config, pool, places))),
    }
    return write_results(config.out, config, measured_on, results, as_markdown(results))


def _of_halves(
    config: SeenBenchConfig, design: Design, by_kind: ByKind, scores: Scores
) -> dict[str, Any]:
    told = {
        (kind, origin): [
            _told(config, seen, *pair, origin)
            for seen, pair in zip(design.seen, pairs, strict=True)
        ]
        for (kind, origin), pairs in by_kind.items()
    }
    return {
        "others": len(by_kind[BY_ITSELF, OTHER_WRITERS][0][1]),
        "draws": config.draws,
        "residuals": _residual_rows(by_kind, design),
        "probabilities": [
            {"residuals": kind, "held_out": origin, "half": half}
            | summary([draw.numbers() for draw in draws])
            for (kind, origin), each in told.items()
            for half, draws in zip(HALVES, each, strict=True)
        ],
        "proponents": [
            {"residuals": kind, "held_out": origin} | row
            for (kind, origin), each in told.items()
            for method in config.of_halves.method_names
            for row in proponent_rows(
                method, [scores.of(half, method, half) for half in HALVES], each
            )
        ],
    }


def _residuals(config: SeenBenchConfig, pool: Pool, places: tuple[Pixels, Pixels]) -> ByKind:
    """Return all residuals, by themselves and beside those of the nearest images.

    The nearest are taken among candidates and held-out images: of the same writers these are all of
    the pool, in every draw.

    `places` (N, D) and (M, D) are where the pool and the other digits lie.
    """
    found: ByKind = {}
    for half in HALVES:
        ours, theirs = residuals_of(config, pool, model_folder(config.of_halves, half))
        pairs = {
            (BY_ITSELF, SAME): (ours, theirs),
            (BESIDE_NEAREST, SAME): (relative_at_once(places[:1], ours, NEAREST), theirs),
        }
        for kind, pair in kinds(ours, theirs, places).items():
            pairs[kind, OTHER_WRITERS] = pair
        for key, pair in pairs.items():
            found.setdefault(key, []).append(pair)
    return found


def _told(
    config: SeenBenchConfig, seen: Mask, ours: Residuals, theirs: Residuals, origin: str
) -> list[Told]:
    if origin == OTHER_WRITERS:
        return [told_by_others(ours, theirs, seen)]
    return [told_by_same_writers(ours, seen, draw) for draw in range(config.draws)]


def _residual_rows(by_kind: ByKind, design: Design) -> list[dict[str, Any]]:
    """Return for each kind and half how well residuals tell seen images from all unseen ones."""
    rows = []
    for kind in (BY_ITSELF, BESIDE_NEAREST):
        for number, (half, seen) in enumerate(zip(HALVES, design.seen, strict=True)):
            ours = by_kind[kind, SAME][number][0]
            plain = by_kind[BY_ITSELF, SAME][number][0]
            rows.append(
                {
                    "residuals": kind,
                    "half": half,
                    "area": area_under_curve(ours[seen], ours[~seen]),
                    "positives": true_positives(ours[seen], ours[~seen]),
                    "gain": gain_of_area(seen, ours, plain),
                }
            )
    return rows
