"""How fast this machine is: a few random images, and two products of matrices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition, ConditionKind, Samples, read_batch
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.calibration import choose_execution
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.support.device import peak_memory_on

_MATRIX = 1024
_BATCHES = 3  # at least, the first of which is slower
_PATIENCE = 10.0  # seconds, after which no further batch is begun


@dataclass(frozen=True)
class FeaturizingSpeed:
    """What featurizing a few images took.

    Attributes
    ----------
    images_per_second
        Rate by the clock, after a first batch where there were several.
    images_per_cpu_second
        The same by the time of the processor, which others on the machine do not add to.
    begin, cpu_begin
        Seconds that choosing the execution took, by the clock and of the processor.
    how
        Engine and batch.
    memory
        Bytes by which the process (on a GPU, the device) grew.
    """

    images_per_second: float
    images_per_cpu_second: float
    begin: float
    cpu_begin: float
    how: str
    memory: int


@dataclass(frozen=True)
class ArithmeticSpeed:
    """Multiplications and additions a second in products of matrices: of float32, of float64."""

    single: float
    double: float


@dataclass(frozen=True)
class RandomImages:
    """Random pixels, in place of images that nobody has to have yet; `Samples`.

    Attributes
    ----------
    count
        How many.
    shape
        Their shape.
    kind
        What each of them is said to be of.
    """

    count: int
    shape: ImageShape
    kind: ConditionKind = "nothing"
    path: ClassVar[None] = None

    def __len__(self) -> int:
        return self.count

    def sample_id(self, index: int) -> str:
        """Return the number of an image."""
        return str(index)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the numbers of images [start, stop)."""
        return [self.sample_id(index) for index in range(start, min(stop, self.count))]

    def identity(self) -> str:
        """Return a name instead of a hash: these stand for images that nobody has read."""
        return "planned"

    def images_identity(self) -> str:
        """Return the same name."""
        return self.identity()

    def conditions(self, start: int, stop: int) -> Sequence[Condition] | None:
        """Return the first class, or a caption of its own, for each image, if any is wanted.

        Equal captions would be encoded once only.
        """
        if self.kind == "nothing":
            return None
        numbers = range(start, min(stop, self.count))
        return [f"picture {number}" if self.kind == "caption" else 0 for number in numbers]

    def remarks(self) -> list[str]:
        """Return nothing: there is nothing to be said of images that nobody has read."""
        return []

    def image(self, index: int) -> torch.Tensor:
        """Return an image (channels, height, width) of independent numbers in [-1, 1)."""
        generator = torch.Generator().manual_seed(index)
        shape = (self.shape.channels, self.shape.height, self.shape.width)
        return 2 * torch.rand(shape, generator=generator) - 1

    def image_and_origin(self, index: int) -> tuple[torch.Tensor, None]:
        """Return such an image, which was never of another size."""
        return self.image(index), None


def measure_featurizing(
    maker: FeatureMaker,
    samples: Samples,
    options: ExecutionOptions,
    *,
    images: int,
    rows_per_shard: int,
) -> FeaturizingSpeed:
    """Choose engine and batch as a run does, and time a few batches, as large as those of a run.

    Parameters
    ----------
    maker
        What computes features, and residuals where they have some.
    samples
        As many as the run has: how many there are decides what it would try.
    options
        What a run would be told of engine and batch.
    images
        At least so many are featurized, unless that takes long; at least 1.
    rows_per_shard
        Most images of a batch, as a batch is of one shard.
    """
    before, start = peak_memory_on(maker.device), _now()
    execution = choose_execution(maker, samples, options)
    execution.apply(maker)
    begin, cpu_begin = _now() - start
    most = min(len(samples), rows_per_shard, execution.rows_at_a_time(samples))
    times: list[NDArray[np.float64]] = []
    while len(times) < _BATCHES or len(times) * most < images:
        batch, _ = read_batch(samples, range(most))
        start = _now()
        maker.features(batch)
        maker.residuals(batch)
        times.append(_now() - start)
        if np.sum(times, axis=0)[0] > _PATIENCE:
            break
    maker.close()
    seconds, cpu_seconds = np.mean(times[1:] or times, axis=0)
    engine = "" if execution.engine == "none" else f"engine {execution.engine}, "
    return FeaturizingSpeed(
        most / seconds,
        most / cpu_seconds,
        begin,
        cpu_begin,
        f"{engine}batches of {execution.batch_size}",
        max(0, peak_memory_on(maker.device) - before),
    )


def _now() -> NDArray[np.float64]:
    """Return the time by the clock, and that which this process had of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def measure_arithmetic() -> ArithmeticSpeed:
    """Time products of two square matrices."""
    return ArithmeticSpeed(_products(np.float32), _products(np.float64))


def _products(dtype: type[np.floating]) -> float:
    matrix = np.ones((_MATRIX, _MATRIX), dtype)
    matrix @ matrix
    start = time.perf_counter()
    matrix @ matrix
    return 2 * _MATRIX**3 / (time.perf_counter() - start)
