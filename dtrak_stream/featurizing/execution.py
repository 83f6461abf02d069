"""How featurizing is executed: which gradient engine, and how many images at a time.

Neither changes a feature beyond rounding, so the choice is made by measuring on the first
images, printed, and kept with the store: a run that goes on later makes the same one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import BadImageError, ConfigurationError
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.gradients import HookedEngine, TimestepBatchedEngine, served_parameters
from dtrak_stream.gradients.timestep_batched import PAIRS_PER_PASS
from dtrak_stream.support.memory import format_size, peak_memory, usable_memory
from dtrak_stream.support.progress import say

EngineName = Literal["hooked", "timestep-batched", "none"]

_PAIRS = (16, 64, 256, 1024)  # (sample, timestep) pairs in one pass, as tried
_UNTRIED_PAIRS = 64  # fast enough on most machines, and fits on most
_SHARE_OF_IMAGES = 0.25  # trying a batch must not cost more than it can save
_GATHERED = 64
_ALONE = 2  # images the timestep-batched engine is timed with
_NEXT = 5  # the next batch, four times as large, must fit
_WORTH = 1.03  # a larger batch must be faster by this much


@dataclass(frozen=True)
class ExecutionOptions:
    """How featurizing is executed. Features do not depend on it beyond rounding."""

    engine: Literal["auto", "hooked", "timestep-batched"] = "auto"
    """Gradient engine: hooked takes many images at a time; timestep-batched one, and any model; \
auto measures both on the first images."""
    batch_size: int | None = None
    """Images in one pass of the model (default: the fastest of a few that fit in memory)."""
    compile: bool = False
    """Run the timestep-batched engine through torch.compile: for long runs on a GPU, as compiling \
takes minutes; no gain was seen on CPUs."""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigurationError(
                f"{self.batch_size} is not a number of images",
                where="--batch-size",
                remedy="give a whole number of at least 1, or leave it out",
            )
        if self.compile and self.engine == "hooked":
            raise ConfigurationError(
                "the hooked engine looks into single layers, which compiling takes away",
                where="--compile --engine hooked",
                remedy="use --engine timestep-batched, or auto to measure both",
            )


@dataclass(frozen=True)
class Execution:
    """A choice of engine and batch.

    Attributes
    ----------
    engine
        Name of the engine; `none` for image features, which have no gradients.
    batch_size
        Images that are featurized together.
    pairs_per_pass
        (image, timestep, draw) triples in one pass of the model.
    served
        Names of the parameters that the layer rules of the hooked engine serve.
    reason
        Why, for the user.
    compiled
        Whether the network runs through `torch.compile`.
    """

    engine: EngineName
    batch_size: int
    pairs_per_pass: int
    served: tuple[str, ...]
    reason: str
    compiled: bool = False

    def apply(self, maker: FeatureMaker) -> None:
        """Make `maker` execute like this."""
        maker.close()
        maker.batch_size = self.batch_size
        if not isinstance(maker, Featurizer):
            return
        task, pairs = maker.task, self.pairs_per_pass
        if self.engine == "timestep-batched":
            maker.engine = TimestepBatchedEngine(task, pairs_per_pass=pairs, compiled=self.compiled)
        else:
            maker.engine = HookedEngine(task, frozenset(self.served), pairs)

    def record(self) -> dict[str, Any]:
        """Return what is kept with the store."""
        return {**asdict(self), "served": list(self.served)}

    @classmethod
    def recorded(cls, record: dict[str, Any]) -> Execution:
        """Return the choice that `record` describes."""
        return cls(**{**record, "served": tuple(record["served"])})


def choose_execution(maker: FeatureMaker, samples: Samples, options: ExecutionOptions) -> Execution:
    """Choose engine and batch size, measuring where the user did not choose.

    Raises
    ------
    ConfigurationError
        If a gradient engine is asked for and can do nothing for these features.
    """
    if isinstance(maker, Featurizer):
        return _Calibration(maker, samples, options).choose()
    if options.engine != "auto":
        raise ConfigurationError(
            "these features are no gradients", where=f"--engine {options.engine}", remedy="drop it"
        )
    size = options.batch_size
    reason = "image features need no gradient engine"
    return Execution("none", size or maker.batch_size, 1, (), reason)


@dataclass(frozen=True)
class _Trial:
    execution: Execution
    images_per_second: float
    grown: int

    def __str__(self) -> str:
        execution = self.execution
        return f"{execution.engine} x {execution.batch_size} {self.images_per_second:.3g} images/s"


class _Calibration:
    """Measures engines and batch sizes on the first images."""

    def __init__(self, featurizer: Featurizer, images: Samples, options: ExecutionOptions) -> None:
        self._featurizer = featurizer
        self._images = images
        self._options = options
        self._served = self._served_parameters()
        self._limit = _memory_limit(featurizer.device)

    def choose(self) -> Execution:
        """Return the fastest execution, or the only one the options allow."""
        candidates = [self._candidates(engine) for engine in self._engines()]
        if len(candidates[0]) == 1 and (len(candidates) == 1 or self._all_served):
            return candidates[0][0]
        trials = [trial for each in candidates for trial in self._trials(each)]
        best = max(trials, key=lambda trial: trial.images_per_second)
        return replace(best.execution, reason=_why(trials))

    def _served_parameters(self) -> tuple[str, ...]:
        if self._options.engine == "timestep-batched":
            return ()
        task = self._featurizer.task
        served = served_parameters(task)
        others = [name for name in task.parameters if name not in served]
        if others and served:
            say(
                f"{len(others)} of {len(task.parameters)} parameters have no layer rule and take a "
                f"pass of their own: {', '.join(others[:5])}{', ...' if others[5:] else ''}"
            )
        return tuple(sorted(served))

    @property
    def _all_served(self) -> bool:
        return len(self._served) == len(self._featurizer.task.parameters)

    def _engines(self) -> list[EngineName]:
        if self._options.engine == "hooked" and not self._served:
            raise ConfigurationError(
                "no parameter of this model is served by a layer rule",
                where="--engine hooked",
                remedy="use --engine timestep-batched",
            )
        if self._options.engine != "auto":
            return [self._options.engine]
        return ["hooked", "timestep-batched"] if self._served else ["timestep-batched"]

    def _candidates(self, engine: EngineName) -> list[Execution]:
        """Return what to try of an engine, smallest batch first."""
        pairs = len(self._featurizer.task.pairs)
        size = self._options.batch_size
        served = self._served if engine == "hooked" else ()
        if size is not None:
            compiled = self._options.compile and engine == "timestep-batched"
            return [Execution(engine, size, size * pairs, served, "as asked for", compiled)]
        if engine == "timestep-batched":  # it takes one image at a time in any case
            passes, compiled = min(pairs, PAIRS_PER_PASS), self._options.compile
            return [Execution(engine, _GATHERED, passes, served, "no other engine", compiled)]
        largest = int(_SHARE_OF_IMAGES * len(self._images) * pairs)
        tried = [number for number in _PAIRS if number <= largest]
        if len(tried) < 2:
            tried = [_UNTRIED_PAIRS]
        return [
            Execution(engine, max(1, number // pairs), number, served, "too few images to measure")
            for number in tried
        ]

    def _trials(self, candidates: list[Execution]) -> Iterator[_Trial]:
        best = 0.0
        for execution in candidates:
            trial = self._measure(execution)
            if trial is None:
                break
            yield trial
            if trial.images_per_second < _WORTH * best or _NEXT * trial.grown > self._limit:
                break
            best = max(best, trial.images_per_second)

    def _measure(self, execution: Execution) -> _Trial | None:
        """Time one batch after a single image; None if it does not fit."""
        featurizer = self._featurizer
        count = execution.batch_size if execution.engine == "hooked" else _ALONE
        batch, ids = self._first_images(count)
        if not ids:
            return _Trial(execution, 1.0, 0)
        execution.apply(featurizer)
        featurizer.features(batch[:1], ids[:1])
        before, start = _peak_memory(featurizer.device), time.perf_counter()
        featurizer.features(batch, ids)
        seconds = time.perf_counter() - start
        if featurizer.batch_size < execution.batch_size:  # it ran out of memory
            return None
        grown = _peak_memory(featurizer.device) - before
        return _Trial(execution, len(ids) / seconds, grown)

    def _first_images(self, count: int) -> tuple[torch.Tensor, list[str]]:
        tensors, ids = [], []
        for index in range(min(count, len(self._images))):
            try:
                tensors.append(self._images.image(index))
                ids.append(self._images.sample_id(index))
            except BadImageError:  # it is quarantined when its turn comes
                continue
        return (torch.stack(tensors) if tensors else torch.empty(0)), ids


def _why(trials: list[_Trial]) -> str:
    tried = ", ".join(map(str, trials))
    largest = max(trial.grown for trial in trials)
    return f"the fastest of: {tried}; at most {format_size(largest)} more memory"


def _memory_limit(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return usable_memory()


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory()
