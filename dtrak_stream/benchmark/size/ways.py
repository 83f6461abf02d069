"""One way of going through images, in a process of its own: `python -m ...ways JSON`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from dtrak_stream.benchmark.own_process import answer_of
from dtrak_stream.benchmark.size.options import NetworkName, PrecisionName
from dtrak_stream.benchmark.size.subject import SizeSubject, make_size_subject
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.stream import GradientSlice
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.memory import peak_memory

TRAINING = "training step"
HOOKED = "hooked + sketch"
_PROJ_DIM = 4096


@dataclass(frozen=True)
class WayOptions:
    """What is measured.

    Attributes
    ----------
    way
        `TRAINING` or `HOOKED`.
    network, rank, precision, timesteps, images, latent_side
        The subject, see `make_size_subject`; the first image is not timed.
    threads
        Threads of torch.
    """

    way: str
    network: NetworkName
    rank: int
    precision: PrecisionName
    timesteps: int
    images: int
    latent_side: int | None
    threads: int


@dataclass(frozen=True)
class WayCost:
    """What it took.

    Attributes
    ----------
    parameters, differentiated
        How many the network has, and how many the LoRA.
    seconds, cpu_seconds
        Of each image but the first: by the clock, and of the processor, which others that are at
        work on the machine do not add to.
    ready_bytes
        Peak memory of the process when all was loaded and nothing computed.
    peak_bytes
        Peak memory at the end.
    """

    parameters: int
    differentiated: int
    seconds: list[float]
    cpu_seconds: list[float]
    ready_bytes: int
    peak_bytes: int


def cost_of(options: WayOptions) -> WayCost:
    """Measure a way in a process of its own.

    Raises
    ------
    MeasuringFailedError
        With the end of what the process printed.
    """
    told = asdict(options)
    remedy = "free memory, or measure a smaller network, rank or --latent-side"
    return WayCost(**answer_of(__name__, told, where=f"{__name__} {told}", remedy=remedy))


def measure(options: WayOptions) -> WayCost:
    """Measure a way in this process."""
    torch.set_num_threads(options.threads)
    subject = make_size_subject(
        options.network,
        rank=options.rank,
        precision=options.precision,
        timesteps=options.timesteps,
        images=options.images + 1,
        latent_side=options.latent_side,
    )
    ready, go = peak_memory(), make_way(options.way, subject)
    seconds, cpu_seconds = [], []
    for row in range(len(subject.samples)):
        start, cpu_start = time.perf_counter(), time.process_time()
        go(subject.samples[row : row + 1])
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    weights = subject.task.denoiser.network.parameters()
    count, own = sum(weight.numel() for weight in weights), subject.task.num_parameters
    times = seconds[1:], cpu_seconds[1:]
    return WayCost(count - own, own, *times, ready, peak_memory())


def make_way(name: str, subject: SizeSubject) -> Callable[[SampleBatch], object]:
    """Return what goes through an image at all its timesteps, in one pass."""
    task = subject.task
    if name == TRAINING:

        def train(image: SampleBatch) -> object:
            batch = task.noised(image, task.pairs)
            value = task.values(task.output(batch), batch).sum()
            return torch.autograd.grad(value, list(task.parameters.values()))

        return train
    engine = HookedEngine(task, frozenset(task.parameters), len(task.pairs))
    sketch = make_projector(
        "sketch", proj_dim=_PROJ_DIM, seed=0, num_parameters=task.num_parameters
    )

    def featurize(image: SampleBatch) -> object:
        row = torch.zeros(1, _PROJ_DIM)

        def receive(piece: GradientSlice) -> None:
            sketch.add(piece.block, piece.offset, row)

        engine.stream(image, receive)
        return row

    return featurize


if __name__ == "__main__":
    print(json.dumps(asdict(measure(WayOptions(**json.loads(sys.argv[1]))))))
