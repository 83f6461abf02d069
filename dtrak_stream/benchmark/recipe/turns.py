"""Timing the recipes in turns, each in a process of its own; what is finished is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import xxhash

from dtrak_stream.benchmark.featurizing.options import ModelName
from dtrak_stream.benchmark.recipe.options import RecipeConfig
from dtrak_stream.benchmark.recipe.ways import (
    Seconds,
    WayCost,
    WayName,
    WayOptions,
    cost_of,
    read_cost,
)
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.durable import write_json
from dtrak_stream.support.progress import say

WAYS: tuple[WayName, ...] = get_args(WayName)


@dataclass(frozen=True)
class Turn:
    """Both recipes, one after the other.

    Attributes
    ----------
    published, best
        What one image costs.
    """

    published: WayCost
    best: WayCost

    @property
    def ratio(self) -> Seconds:
        """Return how many times the published recipe costs what `best` does."""
        dear, cheap = self.published.whole, self.best.whole
        return Seconds(dear.by_clock / cheap.by_clock, dear.by_cpu / cheap.by_cpu)


def measured_turns(config: RecipeConfig, model: ModelName) -> list[Turn]:
    """Return all turns of a model, those that earlier calls finished among them.

    Raises
    ------
    MeasuringFailedError
        If a process fails.
    """
    return list(_turns(config, model))


def _turns(config: RecipeConfig, model: ModelName) -> Iterator[Turn]:
    for number in range(config.rounds):
        turn = Turn(*(_cost(config, model, way, number) for way in WAYS))
        ratio = f"{turn.ratio.by_cpu:,.0f} x in CPU time"
        say(f"{model}, turn {number + 1} of {config.rounds}: {ratio}")
        yield turn


def _cost(config: RecipeConfig, model: ModelName, way: WayName, number: int) -> WayCost:
    options = WayOptions(
        way,
        model,
        config.timesteps,
        config.batch,
        config.timed_timesteps,
        config.timed_parameters,
        config.threads,
        str(choose_device(config.device)),
    )
    path = _kept_at(config.out, options, number)
    if path.is_file():
        return read_cost(json.loads(path.read_text()))
    cost = cost_of(options)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(cost))
    return cost


def _kept_at(out: Path, options: WayOptions, number: int) -> Path:
    decisive = xxhash.xxh3_64_hexdigest(repr(options).encode())
    name = f"{options.model}-{options.way}-{number}.{decisive}.json"
    return out.with_name(out.name + ".work") / "turns" / name


def turn_numbers(model: ModelName, turns: list[Turn]) -> dict[str, Any]:
    """Return medians over turns, and the turns."""
    return {
        "model": model,
        "ways": {way: _medians([getattr(turn, way) for turn in turns]) for way in WAYS},
        "ratio": median(turn.ratio.by_clock for turn in turns),
        "cpu_ratio": median(turn.ratio.by_cpu for turn in turns),
        "turns": [asdict(turn) for turn in turns],
    }


def _medians(costs: list[WayCost]) -> dict[str, Any]:
    """Return medians of the time of one image, in seconds."""
    return {
        "gradients_cpu_seconds": median(cost.gradients.by_cpu for cost in costs),
        "projection_cpu_seconds": median(cost.projection.by_cpu for cost in costs),
        "seconds": median(cost.whole.by_clock for cost in costs),
        "cpu_seconds": median(cost.whole.by_cpu for cost in costs),
        "timed": costs[0].timed,
    }
