"""One recipe on one model, in a process of its own: `python -m ...ways JSON` prints its cost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import torch

from dtrak_stream.benchmark.featurizing.options import ModelName
from dtrak_stream.benchmark.featurizing.subject import Subject, make_subject
from dtrak_stream.benchmark.featurizing.ways import HOOKED_AND_SKETCH, make_way, vmap_gradients
from dtrak_stream.benchmark.own_process import answer_of
from dtrak_stream.methods import METHODS
from dtrak_stream.objective.timesteps import choose_timesteps
from dtrak_stream.projectors.table import make_projector

WayName: TypeAlias = Literal["published", "best"]


@dataclass(frozen=True)
class _Sizes:
    """What is timed on one model.

    Attributes
    ----------
    proj_dim
        k of the published recipe.
    timesteps, parameters
        How much of the published recipe is timed; None: all of it.
    together
        Images in one pass of vmap, to choose from.
    passes
        (image, timestep) pairs in one pass of `best`, to choose from; it is timed on the most.
    """

    proj_dim: int
    timesteps: int | None
    parameters: int | None
    together: tuple[int, ...]
    passes: tuple[int, ...]


_SIZES: dict[ModelName, _Sizes] = {
    "digits": _Sizes(4096, None, None, (16, 52), (256, 1024, 4096)),
    "rgb32": _Sizes(32768, 4, 2**18, (4, 16), (16, 64)),
    "cifar": _Sizes(32768, 2, 2**16, (2, 8), (4, 16)),
}


@dataclass(frozen=True)
class WayOptions:
    """One process: a recipe on a model, and how much of it is timed, as `RecipeConfig` says."""

    way: WayName
    model: ModelName
    timesteps: int
    batch: int
    timed_timesteps: int | None
    timed_parameters: int | None
    threads: int
    device: str


@dataclass(frozen=True)
class Seconds:
    """Time for one image, by the clock and of a processor."""

    by_clock: float
    by_cpu: float


@dataclass(frozen=True)
class WayCost:
    """What one image costs.

    Attributes
    ----------
    gradients, projection
        Time of its gradients, and of their projection; `best` does both at a time.
    timed
        What was timed, and what that was extrapolated to, in words.
    """

    gradients: Seconds
    projection: Seconds
    timed: str

    @property
    def whole(self) -> Seconds:
        """Return the time of both."""
        return Seconds(
            self.gradients.by_clock + self.projection.by_clock,
            self.gradients.by_cpu + self.projection.by_cpu,
        )


def cost_of(options: WayOptions) -> WayCost:
    """Return the cost of a recipe, measured in a process of its own.

    Raises
    ------
    MeasuringFailedError
        With the end of what the process printed.
    """
    answer = answer_of(
        __name__,
        asdict(options),
        where=f"{options.way} on {options.model}",
        remedy="free memory, or leave the model out of --models",
    )
    return read_cost(answer)


def read_cost(answer: dict[str, object]) -> WayCost:
    """Return a cost from the JSON that `asdict` made of it."""
    gradients, projection = (Seconds(**answer[name]) for name in ("gradients", "projection"))  # type: ignore[arg-type]
    return WayCost(gradients, projection, str(answer["timed"]))


def measure(options: WayOptions) -> WayCost:
    """Time one recipe in this process."""
    torch.set_num_threads(options.threads)
    return _published(options) if options.way == "published" else _best(options)


def _published(options: WayOptions) -> WayCost:
    sizes = _SIZES[options.model]
    count = min(options.timed_timesteps or sizes.timesteps or options.timesteps, options.timesteps)
    images = min(options.batch, max(sizes.together))
    subject = _subject_of(options, count, images)
    size = _fastest_size(subject, sizes.together)
    # where all timesteps are timed, all images of the batch are; else as many as fit one pass
    samples = subject.samples if count == options.timesteps else subject.samples[:size]
    timed = _timed(partial(vmap_gradients, replace(subject, samples=samples), size))
    times = options.timesteps / count / len(samples)
    p = subject.task.num_parameters
    length = min(options.timed_parameters or sizes.parameters or p, p)
    projected = _timed_projection(options, sizes.proj_dim, length)
    words = (
        f"{count} of {options.timesteps} timesteps of {len(samples)} images, {size} in a pass; "
        f"{length:,} of {p:,} coordinates of {options.batch} gradients"
    )
    return WayCost(_times(timed, times), _times(projected, p / length / options.batch), words)


def _subject_of(options: WayOptions, count: int, images: int) -> Subject:
    """Return the model with images at some of the timesteps, evenly taken."""
    num_timesteps = 1000  # T of all models here
    grid = choose_timesteps(str(options.timesteps), num_timesteps)
    some = [grid[place * len(grid) // count] for place in range(count)]
    return make_subject(
        options.model,
        timesteps=f"list:{','.join(map(str, some))}",
        pairs=images * count,
        device=torch.device(options.device),
        output_function="square",
        noise="per-sample",
    )


def _fastest_size(subject: Subject, sizes: tuple[int, ...]) -> int:
    """Return how many images in a pass are fastest for each, at one timestep."""
    one = replace(subject.task, timesteps=subject.task.timesteps[:1])
    seconds = {}
    for size in {min(size, len(subject.samples)) for size in sizes}:
        some = replace(subject, task=one, samples=subject.samples[:size])
        vmap_gradients(some, size)  # the first pass of a size is not counted
        seconds[size] = _timed(partial(vmap_gradients, some, size)).by_cpu / size
    return min(seconds, key=lambda size: seconds[size])


def _timed_projection(options: WayOptions, proj_dim: int, length: int) -> Seconds:
    """Time the dense projection of some coordinates of a batch of gradients."""
    device = torch.device(options.device)
    projector = make_projector("normal", proj_dim=proj_dim, seed=0, num_parameters=length)
    block = torch.randn(options.batch, length, generator=torch.Generator().manual_seed(0))
    out, block = torch.zeros(options.batch, proj_dim, device=device), block.to(device)
    projector.add(block[:, :64], 0, out)  # what is made once, such as the table of quantiles
    return _timed(partial(projector.add, block, 0, out))


def _best(options: WayOptions) -> WayCost:
    (best,), sizes = METHODS["best"].streams, _SIZES[options.model].passes
    subject = make_subject(
        options.model,
        timesteps=best.timesteps,
        pairs=max(sizes),
        device=torch.device(options.device),
        output_function=best.output_function,
    )
    way = make_way(HOOKED_AND_SKETCH, subject, best.proj_dim)
    way.run(max(sizes))  # the first pass is not counted
    timed = {size: _timed(partial(way.run, size)) for size in sizes}
    size = min(timed, key=lambda size: timed[size].by_cpu)
    images = len(subject.samples)
    words = f"all of {images:,} images, {size} pairs in a pass"
    return WayCost(_times(timed[size], 1 / images), Seconds(0.0, 0.0), words)


def _timed(run: Callable[[], object]) -> Seconds:
    clock, cpu = time.perf_counter(), time.process_time()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Seconds(time.perf_counter() - clock, time.process_time() - cpu)


def _times(seconds: Seconds, factor: float) -> Seconds:
    return Seconds(seconds.by_clock * factor, seconds.by_cpu * factor)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(WayOptions(**json.loads(sys.argv[1]))))))
