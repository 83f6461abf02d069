"""A plan for each method, and what they say beside each other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, DDPMScheduler

from dtrak_stream.benchmark.featurizing.subject import random_unet
from dtrak_stream.benchmark.million.options import MillionConfig
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.run import PlanResult, plan
from dtrak_stream.planning.stages import StagePlan, duration
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import say, untold

_SHAPE = "3x32x32"
_STAGES = {"features": "train features", "Gram": "Gram matri"}
"""What the names of stages begin with that a column adds up."""
_HEADINGS = ("method", "features, s", "Gram matrix, s", "the rest, s", "all, s", "that is", "disk")


def measure_million(config: MillionConfig) -> BenchmarkResult:
    """Plan each method; see `MillionConfig`.

    Raises
    ------
    DtrakStreamError
        What a run of so many images would be refused with here, such as for want of disk.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        unet = random_unet(config.model)
        DDPMPipeline(unet, DDPMScheduler()).save_pretrained(model)
        planned = [_planned(name, config, model) for name in config.methods]
    numbers = {
        "benchmark": "million",
        "parameters": sum(each.numel() for each in unet.parameters()),
        "methods": planned,
    }
    return write_results(config.out, config, measured_on, numbers, as_markdown(config, numbers))


def _planned(name: str, config: MillionConfig, model: Path) -> dict[str, Any]:
    with untold():
        result = plan(_plan_config(name, config, model))
    found = {"method": name, **_seconds(result)}
    found["disk_bytes"] = sum(stage.disk for stage in result.stages)
    found["how"] = [stage.note for stage in result.stages if _is_of(stage, "features")]
    say(" ".join(_row(found)))
    return found


def _plan_config(name: str, config: MillionConfig, model: Path) -> PlanConfig:
    return PlanConfig(
        train_samples=config.images,
        query_samples=config.queries,
        model=str(model),
        image_shape=_SHAPE,
        run=model.with_name("run"),
        measured_images=config.measured_images,
        score_options=ScoreOptions(method=name),
        quiet=True,
    )


def _seconds(result: PlanResult) -> dict[str, float]:
    """Return the seconds of the features of training images, of Gram matrices, and of the rest."""
    seconds = {
        column: sum(stage.seconds or 0.0 for stage in result.stages if _is_of(stage, column))
        for column in _STAGES
    }
    whole = result.begin + sum(stage.seconds or 0.0 for stage in result.stages)
    return seconds | {"rest": whole - sum(seconds.values()), "all": whole}


def _is_of(stage: StagePlan, column: str) -> bool:
    return stage.name.startswith(_STAGES[column])


def as_markdown(config: MillionConfig, numbers: dict[str, Any]) -> str:
    """Return title and table."""
    return "\n\n".join(
        (
            f"# {config.images:,} images, as plans say",
            f"32x32 RGB images, {config.queries:,} queries, and a UNet of "
            f"{numbers['parameters']:,} parameters (random weights), each method with its own "
            "features and usual options; the rest is features of queries, scores, and loading. A "
            f"plan featurizes {config.measured_images:,} random images at least, multiplies a few "
            "matrices, and reckons.",
            table(_HEADINGS, [_row(each) for each in numbers["methods"]]),
            "Features were planned as: "
            + "; ".join(
                f"{each['method']}: {', '.join(each['how'])}" for each in numbers["methods"]
            )
            + ".",
        )
    )


def _row(found: dict[str, Any]) -> list[str]:
    seconds = [f"{found[column]:,.0f}" for column in ("features", "Gram", "rest", "all")]
    return [found["method"], *seconds, duration(found["all"]), format_size(found["disk_bytes"])]
