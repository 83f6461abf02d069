"""Planning a run: every stage by the functions that the stages themselves plan with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from dtrak_stream.attribution.checks import refuse_options
from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.plan import AttributionPlan, make_plan
from dtrak_stream.errors import (
    DiskFullError,
    DtrakStreamError,
    MemoryLimitError,
)
from dtrak_stream.gram.options import GramOptions
from dtrak_stream.gram.plan import GramPlan
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.given import name_of_given, refuse_to_share_given
from dtrak_stream.planning.calibration import ArithmeticSpeed, measure_arithmetic
from dtrak_stream.planning.models import PlannedModel, plan_model
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.scores import plan_score_stage
from dtrak_stream.planning.sharing import Sharing
from dtrak_stream.planning.stages import (
    StagePlan,
    duration,
    plan_features,
    plan_gram_stage,
    plan_half_grams,
    plan_kept,
)
from dtrak_stream.support.destinations import require_no_file_above
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.memory import format_size, peak_memory, usable_memory
from dtrak_stream.support.option_values import require_number
from dtrak_stream.support.progress import say


@dataclass(frozen=True)
class PlanResult:
    """What a run would take.

    Attributes
    ----------
    path
        The run folder that is planned for.
    stages
        What each stage takes.
    process_bytes
        Memory of the process itself, its interpreter and packages.
    begin, cpu_begin
        Seconds until the first image is featurized, by the clock and of the processor, without
        interpreter and packages: loading the models, trying layer rules, choosing an execution.
    quarantined
        Always 0: no image is looked at.
    """

    path: Path
    stages: list[StagePlan] = field(default_factory=list)
    process_bytes: int = 0
    begin: float = 0.0
    cpu_begin: float = 0.0
    quarantined: int = 0


def plan(config: PlanConfig, *, denoiser: Denoiser | None = None) -> PlanResult:
    """Print what each stage of a run would take.

    Parameters
    ----------
    config
        The run, and how many images.
    denoiser
        The model, where it is given instead of named (see `Denoiser`); its weights are left as
        they are.

    Raises
    ------
    InputError, ModelError, ConfigurationError
        If the model cannot be loaded, an option has no such value, or no scheduler answers.
    DtrakStreamError
        What the run itself would be refused with; if that is more than one thing, the first one,
        after all of them have been said.
    """
    refuse_to_share_given(denoiser, config.cluster)
    if denoiser is not None:
        config = replace(config, model=name_of_given(denoiser, config.model))
    job, itself = _job(config), peak_memory()
    sharing = Sharing.of(config.cluster, config.features.device)
    models = [plan_model(config, job, each, denoiser) for each in job.models]
    stages, refusals = _stages(config, job, models, sharing)
    refusals += _refused_by_disk(config, stages)
    for stage in stages:
        say(str(stage))
    begin, cpu_begin = sum(m.begin for m in models), sum(m.cpu_begin for m in models)
    _say_total(stages, itself, sharing, begin if config.measured_images else None)
    for refusal in refusals:
        say(f"refused: {refusal}")
    if refusals:
        raise refusals[0]
    return PlanResult(config.run, stages, itself, begin, cpu_begin)


def _job(config: PlanConfig) -> AttributionPlan:
    """Return the plan of the run, refused as it would be."""
    for flag, value, least in (
        ("--train-samples", config.train_samples, 1),
        ("--query-samples", config.query_samples, 1),
        ("--measured-images", config.measured_images, 0),
    ):
        require_number(flag, value, least)
    require_no_file_above(config.run, flag="--run")
    job = make_plan(
        AttributeConfig(
            model=config.model,
            run=config.run,
            cache_latents=config.cache_latents,
            features=config.features,
            execution=config.execution,
            score_options=replace(config.score_options, seen="off"),
            gram_options=config.gram_options,
            cluster=config.cluster,
        )
    )
    refuse_options(job)
    return job


def _stages(
    config: PlanConfig, job: AttributionPlan, models: list[PlannedModel], sharing: Sharing
) -> tuple[list[StagePlan], list[DtrakStreamError]]:
    stages = [stage for model in models for stage in _feature_stages(model, sharing)]
    if config.cache_latents is not None:
        kept = max(model.kept for model in models)
        stages.append(plan_kept(kept, config.train_samples + config.query_samples))
    refusals: list[DtrakStreamError] = []
    device = config.cluster.device_here(config.features.device)
    if sharing.is_here and choose_device(device).type == "cpu":
        refusals += _refused_by_memory(config, stages)
    try:
        stages += _later_stages(config, job, models, sharing)
    except DtrakStreamError as refusal:
        refusals.append(refusal)
    return stages, refusals


def _feature_stages(model: PlannedModel, sharing: Sharing) -> list[StagePlan]:
    sides = (("train", model.train), ("query", model.query))
    of, memory, speed = model.of_model, model.memory, model.speed
    return [
        plan_features(f"{side} features{of}", stores, memory, speed, sharing)
        for side, stores in sides
    ]


def _later_stages(
    config: PlanConfig, job: AttributionPlan, models: list[PlannedModel], sharing: Sharing
) -> list[StagePlan]:
    """Plan the Gram matrices and the scores; raises what they would be refused with."""
    options, arithmetic = config.gram_options, _arithmetic(config)
    stages: list[StagePlan] = []
    cuts: list[GramPlan] = []
    if job.method.uses_kernel:
        for model in models:
            name = f"Gram matrix{model.of_model}"
            stage, cut = plan_gram_stage(name, model.train, options, sharing, arithmetic)
            stages.append(stage)
            cuts += cut
        if config.score_options.error_bars:
            stages += _half_grams(models, options, arithmetic)
    pairs = [pair for one in models for pair in zip(one.train, one.query, strict=True)]
    return [*stages, plan_score_stage(pairs, cuts, job, arithmetic)]


def _half_grams(
    models: list[PlannedModel], options: GramOptions, speed: ArithmeticSpeed | None
) -> list[StagePlan]:
    """Plan the Gram matrices of halves, a stage for each stream: all matrices of one are alike."""
    stages = []
    for stream in dict.fromkeys(model.stream for model in models):
        trains = [store for model in models if model.stream == stream for store in model.train]
        stage = plan_half_grams(trains, options, speed)
        stages.append(replace(stage, name=f"{stage.name} of {stream}") if stream else stage)
    return stages


def _arithmetic(config: PlanConfig) -> ArithmeticSpeed | None:
    return measure_arithmetic() if config.measured_images else None


def _refused_by_memory(config: PlanConfig, stages: list[StagePlan]) -> list[DtrakStreamError]:
    needed, there = max(stage.memory_in_all for stage in stages), usable_memory()
    if needed <= there:
        return []
    return [
        MemoryLimitError(
            f"featurizing needs {format_size(needed)} of memory, {format_size(there)} are there",
            where=f"--rows-per-shard {config.features.rows_per_shard}",
            remedy="free some, or lower --batch-size, --rows-per-shard, --proj-dim or --workers",
        )
    ]


def _refused_by_disk(config: PlanConfig, stages: list[StagePlan]) -> list[DtrakStreamError]:
    run = config.run.absolute()
    there = next(folder for folder in (run, *run.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    needed = sum(stage.disk for stage in stages) + max(stage.scratch for stage in stages)
    if needed <= free:
        return []
    return [
        DiskFullError(
            f"{format_size(needed)} are needed and {format_size(free)} are free",
            where=run,
            remedy="free some space, name another --run, or lower --proj-dim",
        )
    ]


def _say_total(stages: list[StagePlan], itself: int, sharing: Sharing, begin: float | None) -> None:
    disk = sum(stage.disk for stage in stages)
    memory = max(stage.memory_in_all for stage in stages)
    room = f"{format_size(memory)} of memory and {format_size(itself)} for the process itself"
    if not sharing.options.is_this_process:
        room += f" and for each of the {sharing.processes} that share the work"
    times = [stage.seconds for stage in stages if stage.seconds is not None]
    told = "" if begin is None else f", {duration(begin)} of it to begin"
    time = f", about {duration(sum(times) + (begin or 0))}{told}" if times else ""
    say(f"in all: {format_size(disk)} on disk, at most {room}{time}")
