"""Choosing an execution: by measuring engines and batch sizes on the first images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dtrak_stream.data.samples import Samples, read_batch
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.maker import EngineName, FeatureMaker
from dtrak_stream.featurizing.execution import Execution, refuse_useless_engine
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.gradients.timestep_batched import PAIRS_PER_PASS
from dtrak_stream.support.device import device_name, free_memory, peak_memory_on
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import say

_PAIRS = (16, 64, 256, 1024)  # (sample, timestep) pairs in one pass, as tried
_UNTRIED_PAIRS = 64  # fast enough on most machines, and fits on most
_SHARE_OF_IMAGES = 0.25  # trying a batch must not cost more than it can save
_GATHERED = 64
_ALONE = 2  # images the timestep-batched engine is timed with
_NEXT = 5  # the next batch, four times as large, must fit
_WORTH = 1.03  # a larger batch must be faster by this much


def choose_execution(maker: FeatureMaker, samples: Samples, options: ExecutionOptions) -> Execution:
    """Choose engine and batch size, measuring where the user did not choose.

    Raises
    ------
    ConfigurationError
        If a gradient engine is asked for and can do nothing for these features.
    """
    device, free = device_name(maker.device), free_memory(maker.device)
    if "none" in maker.engines:
        chosen = _without_engine(maker, options)
    else:
        chosen = _Calibration(maker, samples, options, free).choose()
    return replace(chosen, device=device, free=free)


def _without_engine(maker: FeatureMaker, options: ExecutionOptions) -> Execution:
    refuse_useless_engine(options, maker)
    size = options.batch_size or maker.batch_size
    return Execution("none", size, 1, (), "image features need no gradient engine")


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

    def __init__(
        self, maker: FeatureMaker, images: Samples, options: ExecutionOptions, free: int
    ) -> None:
        self._maker = maker
        self._images = images
        self._options = options
        self._free = free
        self._served = self._served_parameters()
        self._fitting = maker.pairs_that_fit() or 1

    def choose(self) -> Execution:
        """Return the fastest execution, or the only one the options allow."""
        candidates = [self._candidates(engine) for engine in self._engines()]
        if len(candidates[0]) == 1 and (len(candidates) == 1 or self._all_served):
            return candidates[0][0]
        trials = [trial for each in candidates for trial in self._trials(each)]
        best = max(trials, key=lambda trial: trial.images_per_second)
        return replace(best.execution, reason=_why(trials), needed=best.grown)

    def _served_parameters(self) -> tuple[str, ...]:
        if self._options.engine == "timestep-batched":
            return ()
        served, names = self._maker.served_parameters(), self._maker.parameter_names
        others = [name for name in names if name not in served]
        if others and served:
            say(
                f"{len(others)} of {len(names)} parameters have no layer rule and take a "
                f"pass of their own: {', '.join(others[:5])}{', ...' if others[5:] else ''}"
            )
        return tuple(sorted(served))

    @property
    def _all_served(self) -> bool:
        return len(self._served) == len(self._maker.parameter_names)

    def _engines(self) -> list[EngineName]:
        if self._options.engine == "hooked" and not self._served:
            raise ConfigurationError(
                "no parameter of this model is served by a layer rule",
                where="--engine hooked",
                remedy="use --engine timestep-batched",
            )
        if self._options.engine != "auto":
            return [self._options.engine]
        return [name for name in self._maker.engines if name != "hooked" or self._served]

    def _candidates(self, engine: EngineName) -> list[Execution]:
        """Return what to try of an engine, smallest batch first."""
        pairs, fitting = self._maker.pairs, self._fitting
        size = self._options.batch_size
        served = self._served if engine == "hooked" else ()
        if size is not None:
            passes, compiled = min(size * pairs, fitting), self._options.compile
            compiled = compiled and engine == "timestep-batched"
            return [Execution(engine, size, passes, served, "as asked for", compiled)]
        if engine == "timestep-batched":  # it takes one image at a time in any case
            passes, compiled = min(pairs, PAIRS_PER_PASS, fitting), self._options.compile
            return [Execution(engine, _GATHERED, passes, served, "no other engine", compiled)]
        return [
            Execution(engine, max(1, number // pairs), number, served, why)
            for number, why in self._sizes()
        ]

    def _sizes(self) -> list[tuple[int, str]]:
        """Return the numbers of pairs in one pass to try, smallest first, and why each."""
        if self._fitting < _PAIRS[1]:
            few = min(self._fitting, _UNTRIED_PAIRS)
            return [(few, "there is memory for no more in one pass")]
        largest = int(_SHARE_OF_IMAGES * len(self._images) * self._maker.pairs)
        tried = [number for number in _PAIRS if number <= min(largest, self._fitting)]
        why = "too few images to measure"
        return [(number, why) for number in (tried if len(tried) > 1 else [_UNTRIED_PAIRS])]

    def _trials(self, candidates: list[Execution]) -> Iterator[_Trial]:
        best = 0.0
        for execution in candidates:
            trial = self._measure(execution)
            if trial is None:
                break
            yield trial
            if trial.images_per_second < _WORTH * best or _NEXT * trial.grown > self._free:
                break
            best = max(best, trial.images_per_second)

    def _measure(self, execution: Execution) -> _Trial | None:
        """Time one batch after a single image; None if it does not fit."""
        maker = self._maker
        count = execution.batch_size if execution.engine == "hooked" else _ALONE
        # a bad image is quarantined when its turn comes
        batch, _ = read_batch(self._images, range(min(count, len(self._images))))
        if not len(batch):
            return _Trial(execution, 1.0, 0)
        execution.apply(maker)
        maker.features(batch[:1])
        before, start = peak_memory_on(maker.device), time.perf_counter()
        maker.features(batch)
        seconds = time.perf_counter() - start
        if maker.batch_size < execution.batch_size:  # it ran out of memory
            return None
        grown = peak_memory_on(maker.device) - before
        return _Trial(execution, len(batch) / seconds, grown)


def _why(trials: list[_Trial]) -> str:
    tried = ", ".join(map(str, trials))
    largest = max(trial.grown for trial in trials)
    return f"the fastest of: {tried}; at most {format_size(largest)} more memory"
