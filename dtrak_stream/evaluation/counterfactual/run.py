"""A counterfactual run: every missing model, then measures, figures and page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.evaluation.counterfactual.configuration import CounterfactualConfig
from dtrak_stream.evaluation.counterfactual.plan import plan_counterfactual
from dtrak_stream.evaluation.counterfactual.results import (
    CounterfactualResults,
    clip_features,
    collect_results,
)
from dtrak_stream.evaluation.counterfactual.summary import (
    draw_boxes,
    draw_strips,
    markdown,
    write_page,
)
from dtrak_stream.evaluation.retrained_models import make_missing, require_place
from dtrak_stream.evaluation.shared_folder import shared_folder
from dtrak_stream.support.durable import write_bytes, write_json
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run


@dataclass(frozen=True)
class CounterfactualResult:
    """Where the results are.

    Attributes
    ----------
    path
        The page.
    models
        Number of models made by this call.
    results
        Every number.
    quarantined
        Always 0.
    """

    path: Path
    models: int
    results: CounterfactualResults
    quarantined: int = 0


def counterfactual(config: CounterfactualConfig) -> CounterfactualResult:
    """Make every missing model, and compare what the queries became.

    Writes OUT/results.json, boxes.png, strips.png, summary.md and index.html.

    Raises
    ------
    DtrakStreamError
        If the model, a source, a scores file or an option cannot be used; before any training.
    FingerprintMismatchError
        If OUT was begun with another model, other queries or another loss.
    InterruptedRunError
        On Ctrl-C. Outcomes of finished models are kept, and checkpoints of the others.
    """
    plan = plan_counterfactual(config)
    if config.clip is not None:
        clip_features(config.clip)
    require_place(config.where)
    plan.claim()
    record_run(config.out / "config.yaml", config)
    with shared_folder(config.out, keep_models=config.keep_models):
        made = make_missing(
            plan.missing(),
            len(plan.models()),
            config.where,
            kept_in=config.out,
            visible=not config.quiet,
        )
        results = collect_results(plan)
        _write(config.out, results)
    say(markdown(results))
    return CounterfactualResult(config.out / "index.html", len(made), results)


def _write(out: Path, results: CounterfactualResults) -> None:
    figures = [out / "boxes.png", out / "strips.png"]
    draw_boxes(figures[0], results)
    draw_strips(figures[1], results)
    write_json(out / "results.json", results.as_json())
    write_bytes(out / "summary.md", markdown(results).encode())
    write_page(out / "index.html", results, figures)
