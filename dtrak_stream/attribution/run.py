"""The main job: from a model, its training images and queries to scores and a page to look at."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from dtrak_stream.attribution.checks import CheckedModel, check, check_model
from dtrak_stream.attribution.configuration import AttributeConfig, AttributeResult
from dtrak_stream.attribution.plan import AttributionPlan, ModelPlan, make_plan
from dtrak_stream.attribution.query_sets import OtherQueriesError, as_a_set_of_their_own
from dtrak_stream.attribution.residuals import compute_residuals
from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.featurizing.opening import Identities
from dtrak_stream.featurizing.run import finish
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.given import name_of_given
from dtrak_stream.report.tiles import can_be_shown
from dtrak_stream.report.update import update_report
from dtrak_stream.scoring.run import score
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_first, record_run

Result = TypeVar("Result")


def attribute(config: AttributeConfig, *, denoiser: Denoiser | None = None) -> AttributeResult:
    """Run every stage of the main job; see `AttributeConfig`.

    Parameters
    ----------
    config
        The job.
    denoiser
        The model, instead of one that `config` names. What is done is not done again with it
        either, but images and features are read again to find out.

    Raises
    ------
    DtrakStreamError
        If any stage refuses; see `featurize`, `compute_gram`, `score` and `write_report`. What
        can be foreseen is refused before anything is computed.
    InterruptedRunError
        On Ctrl-C. The same call goes on where it stopped.
    """
    identities, stamps, times = Identities(), SourceStamps(), StageTimes()
    plan, models, begun = times.run("checks", _checked, config, identities, stamps, denoiser)
    if not begun:
        record_first(plan.record, plan.config)
    if plan.residuals is not None:
        for stores in models:  # there may be room for one model only
            stores.close()
        given = (plan.residuals, plan.score, identities, denoiser)
        times.run("residuals", compute_residuals, *given)
    for model, stores in zip(plan.models, models, strict=True):
        _run_model(times, model, stores, identities, denoiser)
    scored = times.run("scores", score, plan.score, plan.config.image_options)
    record_run(plan.record, plan.config)  # only now: a refused call must not rewrite what it was
    page = _show(times, plan, models[0], stamps)
    say(times.summary())
    return AttributeResult(page, scored.path, scored.quarantined, times.seconds)


def _checked(
    config: AttributeConfig,
    identities: Identities,
    stamps: SourceStamps,
    denoiser: Denoiser | None,
) -> tuple[AttributionPlan, tuple[CheckedModel, ...], bool]:
    """Plan and check, with the queries as a set of their own if the run has others.

    Tells last whether the run was begun before it was looked at.
    """
    if denoiser is not None:
        config = dataclasses.replace(config, model=name_of_given(denoiser, config.model))
    plan = make_plan(config)
    begun = plan.record.exists()
    try:
        return plan, check(plan, identities, stamps, denoiser), begun
    except OtherQueriesError as refusal:
        plan = make_plan(as_a_set_of_their_own(config, refusal))
        begun = plan.record.exists()
        return plan, check(plan, identities, stamps, denoiser), begun


def _run_model(
    times: StageTimes,
    model: ModelPlan,
    checked: CheckedModel,
    identities: Identities,
    denoiser: Denoiser | None,
) -> None:
    """Bring the features and the Gram matrices of one model to completion."""
    for side in ("train", "query"):
        if not getattr(checked, side).holds():  # the other side may have taken days
            checked.close()
            anew = (_once_read(model), identities, SourceStamps(), denoiser)
            checked = times.run("checks", check_model, *anew)
        times.run(f"{side} features", finish, getattr(checked, side))
    for gram in model.grams:
        times.run("Gram matrix", compute_gram, gram)


def _once_read(model: ModelPlan) -> ModelPlan:
    """Return the same jobs without `rehash`: the checks have read everything again."""
    train, query = (dataclasses.replace(job, rehash=False) for job in (model.train, model.query))
    return dataclasses.replace(model, train=train, query=query)


def _show(
    times: StageTimes, plan: AttributionPlan, model: CheckedModel, stamps: SourceStamps
) -> Path:
    """Write the report; return its page, or the scores if such images cannot be shown."""
    if not can_be_shown(model.shape):
        say(f"no report: images of {model.shape} are neither grayscale nor RGB")
        return plan.score.out
    if plan.config.report.damping_number != plan.report.report.damping_number:
        say("the report shows the first of the dampings; choose another by --damping-number")
    write = partial(
        update_report, known=model.images_identity, stamps=stamps, anew=plan.config.rehash
    )
    return times.run("report", write, plan.report).path


class StageTimes:
    """Runs stages and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, stage: Callable[..., Result], *arguments: object) -> Result:
        """Call `stage` and add its time under `name`."""
        begin = time.perf_counter()
        result = stage(*arguments)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
        return result

    def summary(self) -> str:
        """Return one line for the user."""
        return "; ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
