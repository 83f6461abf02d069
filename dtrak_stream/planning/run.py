"""Planning a run: every stage by the functions that the stages themselves plan with."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from dtrak_stream.errors import (
    ConfigurationError,
    DiskFullError,
    DtrakStreamError,
    MemoryLimitError,
)
from dtrak_stream.features import make_featurizer
from dtrak_stream.featurizer import Featurizer
from dtrak_stream.memory import format_size, usable_memory
from dtrak_stream.methods import find_method, refuse_other_output_function
from dtrak_stream.planning.calibration import measure_arithmetic, measure_featurizing
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.stages import (
    StagePlan,
    duration,
    plan_features,
    plan_gram_stage,
    plan_score_stage,
)
from dtrak_stream.progress import say
from dtrak_stream.store import FeatureStore, Fingerprint, StoreLayout


@dataclass(frozen=True)
class PlanResult:
    """What a run would take.

    Attributes
    ----------
    path
        The run folder that is planned for.
    stages
        What each stage takes.
    quarantined
        Always 0: no image is looked at.
    """

    path: Path
    stages: list[StagePlan] = field(default_factory=list)
    quarantined: int = 0


def plan(config: PlanConfig) -> PlanResult:
    """Print what each stage of a run would take.

    Raises
    ------
    InputError, ModelError, ConfigurationError
        If the model cannot be loaded, or an option has no such value.
    DtrakStreamError
        What the run itself would be refused with; if that is more than one thing, the first one,
        after all of them have been said.
    """
    config = _checked(config)
    featurizer = make_featurizer(config.model, config.features)
    _refuse_other_shape(config, featurizer)
    stages, refusals = _stages(config, featurizer)
    refusals += _refused_by_disk(config, stages)
    for stage in stages:
        say(str(stage))
    _say_total(stages)
    for refusal in refusals:
        say(f"refused: {refusal}")
    if refusals:
        raise refusals[0]
    return PlanResult(config.run, stages)


def _checked(config: PlanConfig) -> PlanConfig:
    for flag, value, least in (
        ("--train-samples", config.train_samples, 1),
        ("--query-samples", config.query_samples, 1),
        ("--measured-images", config.measured_images, 0),
        ("--top-k", config.score_options.top_k, 1),
    ):
        if value < least:
            raise ConfigurationError(
                f"must be at least {least}", where=f"{flag} {value}", remedy="change it"
            )
    method = find_method(config.score_options.method)
    chosen = config.features.output_function or method.output_function
    refuse_other_output_function(method, chosen)
    features = dataclasses.replace(config.features, output_function=chosen)
    return dataclasses.replace(config, features=features)


def _refuse_other_shape(config: PlanConfig, featurizer: Featurizer) -> None:
    wanted = str(featurizer.image_shape)
    if config.image_shape is not None and config.image_shape != wanted:
        raise ConfigurationError(
            f"the model wants {wanted}",
            where=f"--image-shape {config.image_shape}",
            remedy="give images of that shape, or let a run fit them with --image-fit and "
            "--channels convert",
        )


def _stages(
    config: PlanConfig, featurizer: Featurizer
) -> tuple[list[StagePlan], list[DtrakStreamError]]:
    measured = config.measured_images
    speed = measure_featurizing(featurizer, config.execution, images=measured) if measured else None
    arithmetic = measure_arithmetic() if measured else None
    train = _store(config, featurizer, "train", config.train_samples)
    query = _store(config, featurizer, "query", config.query_samples)
    model = sum(p.numel() * p.element_size() for p in featurizer.task.denoiser.network.parameters())
    stages = [
        plan_features("train features", train, model, speed),
        plan_features("query features", query, model, speed),
    ]
    refusals: list[DtrakStreamError] = []
    if featurizer.device.type == "cpu":
        refusals += _refused_by_memory(config, stages)
    try:
        cut = None
        if find_method(config.score_options.method).uses_kernel:
            gram, cut = plan_gram_stage(train, config, arithmetic)
            stages.append(gram)
        stages.append(plan_score_stage(train, query, cut, config, arithmetic))
    except DtrakStreamError as refusal:
        refusals.append(refusal)
    return stages, refusals


def _store(config: PlanConfig, featurizer: Featurizer, name: str, samples: int) -> FeatureStore:
    """Return the store as it would be; it does not exist."""
    fingerprint = Fingerprint(
        **featurizer.identity,  # type: ignore[arg-type]
        images="planned",
        samples=samples,
        dtype=config.features.dtype,
        rows_per_shard=config.features.rows_per_shard,
    )
    return FeatureStore(StoreLayout(config.run / name, fingerprint))


def _refused_by_memory(config: PlanConfig, stages: list[StagePlan]) -> list[DtrakStreamError]:
    needed, there = max(stage.memory for stage in stages), usable_memory()
    if needed <= there:
        return []
    return [
        MemoryLimitError(
            f"featurizing needs {format_size(needed)} of memory, {format_size(there)} are there",
            where=f"--rows-per-shard {config.features.rows_per_shard}",
            remedy="lower --rows-per-shard or --proj-dim",
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


def _say_total(stages: list[StagePlan]) -> None:
    disk = sum(stage.disk for stage in stages)
    memory = max(stage.memory for stage in stages)
    times = [stage.seconds for stage in stages if stage.seconds is not None]
    time = f", about {duration(sum(times))}" if times else ""
    say(f"in all: {format_size(disk)} on disk, at most {format_size(memory)} of memory{time}")
