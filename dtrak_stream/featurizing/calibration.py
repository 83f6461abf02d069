"""Choosing an execution: the batch by what a pass keeps, the engine by trying if need be.

A pass over more pairs is faster until it keeps some 100 MiB, of small networks and large ones,
and slower once it keeps far more: so the batch is known before anything is timed, is the same on
every start, and nothing larger than the run itself is ever tried.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from dtrak_stream.data.samples import Samples, read_batch
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.maker import EngineName, FeatureMaker
from dtrak_stream.featurizing.execution import Execution, refuse_useless_engine
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.gradients.timestep_batched import PAIRS_PER_PASS
from dtrak_stream.support.device import device_name, free_memory
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import say

_KEPT = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}  # bytes that a pass keeps for its backward pass
_MOST_PAIRS = {"cpu": 512, "cuda": 4096}  # (sample, timestep, draw) triples in one pass
_GATHERED = 64
_ALONE = 2  # images the timestep-batched engine is timed with, after a first one
_IN_ALL = 50  # times what trying engines may cost, a run must take: trying is 2 % of it


def choose_execution(maker: FeatureMaker, samples: Samples, options: ExecutionOptions) -> Execution:
    """Choose engine and batch size where the user did not choose.

    Raises
    ------
    ConfigurationError
        If a gradient engine is asked for and can do nothing for these features.
    """
    device, free = device_name(maker.device), free_memory(maker.device)
    if "none" in maker.engines:
        chosen = _without_engine(maker, options)
    else:
        chosen = _Calibration(maker, samples, options).choose()
    return replace(chosen, device=device, free=free)


def _without_engine(maker: FeatureMaker, options: ExecutionOptions) -> Execution:
    refuse_useless_engine(options, maker)
    fitting = maker.pairs_that_fit()
    if fitting is None:
        size = options.batch_size or maker.batch_size
        return Execution("none", size, 1, (), "these features need no gradient engine")
    kept = maker.bytes_of_a_pair or 0
    in_pass, why = _pairs_in_a_pass(maker.device.type, kept, fitting)
    size = options.batch_size or max(1, in_pass // maker.pairs)
    return Execution("none", size, in_pass, (), f"forward passes alone; {why}")


def _pairs_in_a_pass(kind: str, of_a_pair: int, fitting: int) -> tuple[int, str]:
    """Return how many pairs go through the model together on such a device, and why.

    Parameters
    ----------
    kind
        Kind of device.
    of_a_pair
        Bytes that a pass with gradients keeps of each.
    fitting
        How many there is memory for.
    """
    kept, most = (each.get(kind, each["cuda"]) for each in (_KEPT, _MOST_PAIRS))
    # two go through the network when layer rules are tried: no run needs less
    wanted = max(2, min(kept // max(1, of_a_pair), most))
    if wanted > fitting:
        return fitting, "there is memory for no more in one pass"
    return wanted, f"a pass keeps {format_size(wanted * of_a_pair)}"


@dataclass(frozen=True)
class _Trial:
    execution: Execution
    images_per_second: float

    def __str__(self) -> str:
        return f"{self.execution.engine} {self.images_per_second:.3g} images/s"


class _Calibration:
    """Chooses the batch, and the engine."""

    def __init__(self, maker: FeatureMaker, images: Samples, options: ExecutionOptions) -> None:
        self._maker = maker
        self._images = images
        self._options = options
        self._kept = maker.bytes_of_a_pair or 0
        self._fitting = maker.pairs_that_fit() or 1
        self._served = self._served_parameters()

    def choose(self) -> Execution:
        """Return the fastest execution, or the only one the options allow."""
        if self._options.engine != "auto":
            return self._candidate(self._options.engine)
        exact = self._candidate("timestep-batched")
        if not self._served:
            return replace(exact, reason=f"no parameter has a layer rule; {exact.reason}")
        hooked = self._candidate("hooked")
        several = hooked.pairs_per_pass >= 2 * self._maker.pairs
        if several and self._all_served:
            return hooked  # the other one takes one image at a time
        images = min(len(self._images) // _IN_ALL - 2 - _ALONE, max(hooked.batch_size, _ALONE))
        if images < 1:
            likely = hooked if several or self._all_served else exact
            return replace(likely, reason=f"{likely.reason}; too few images to try engines on")
        return self._faster(self._measure(hooked, images), self._measure(exact, _ALONE))

    def _faster(self, *trials: _Trial) -> Execution:
        best = max(trials, key=lambda trial: trial.images_per_second).execution
        tried = ", ".join(map(str, trials))
        return replace(best, reason=f"{best.reason}; the faster one of: {tried}")

    def _served_parameters(self) -> tuple[str, ...]:
        if self._options.engine == "timestep-batched":
            return ()
        served, names = self._maker.served_parameters(), self._maker.parameter_names
        if self._options.engine == "hooked" and not served:
            raise ConfigurationError(
                "no parameter of this model is served by a layer rule",
                where="--engine hooked",
                remedy="use --engine timestep-batched",
            )
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

    def _candidate(self, engine: EngineName) -> Execution:
        """Return how an engine would be used."""
        pairs, size = self._maker.pairs, self._options.batch_size
        exact = engine == "timestep-batched"  # it takes one image at a time in any case
        if size is None:
            in_pass, why = _pairs_in_a_pass(self._maker.device.type, self._kept, self._fitting)
            size = _GATHERED if exact else max(1, in_pass // pairs)
        else:
            in_pass, why = min(size * pairs, self._fitting), "as asked for"
        in_pass = _evenly(pairs, min(in_pass, PAIRS_PER_PASS) if exact else in_pass, size)
        served, compiled = () if exact else self._served, exact and self._options.compile
        needed = in_pass * self._kept
        return Execution(engine, size, in_pass, served, why, compiled, needed=needed)

    def _measure(self, execution: Execution, count: int) -> _Trial:
        """Time some images after a single one."""
        maker = self._maker
        # a bad image is quarantined when its turn comes
        batch, _ = read_batch(self._images, range(min(count, len(self._images))))
        if not len(batch):
            return _Trial(execution, 1.0)
        execution.apply(maker)
        maker.features(batch[:1])
        start = time.perf_counter()
        maker.features(batch)
        return _Trial(execution, len(batch) / (time.perf_counter() - start))


def _evenly(pairs: int, in_pass: int, images: int) -> int:
    """Return no more pairs for a pass, so that passes are equal or of whole images."""
    if in_pass < pairs:
        return -(-pairs // -(-pairs // in_pass))
    return pairs * min(images, in_pass // pairs)
