"""How fast this machine is: a few random images, and two products of matrices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition, ConditionKind, read_batch
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.calibration import choose_execution
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.support.device import peak_memory_on

_MATRIX = 1024
_SHARE_TRIED = 4  # the choice of a batch tries at most a quarter of the images


@dataclass(frozen=True)
class FeaturizingSpeed:
    """What featurizing a few images took.

    Attributes
    ----------
    images_per_second
        Rate, after a first batch.
    how
        Engine and batch.
    memory
        Bytes by which the process (on a GPU, the device) grew.
    """

    images_per_second: float
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
    shape: ImageShape,
    options: ExecutionOptions,
    *,
    images: int,
) -> FeaturizingSpeed:
    """Choose engine and batch as a run does, and time one batch of at most so many images.

    Parameters
    ----------
    maker
        What computes features, and residuals where they have some.
    shape
        Shape of the images it takes.
    options
        What a run would be told of engine and batch.
    images
        At least 1.
    """
    before = peak_memory_on(maker.device)
    source = RandomImages(_SHARE_TRIED * images, shape, maker.conditioned_on)
    execution = choose_execution(maker, source, options)
    execution.apply(maker)
    count = min(images, execution.batch_size)
    batch, _ = read_batch(source, range(count))
    maker.features(batch[:1])
    start = time.perf_counter()
    maker.features(batch)
    maker.residuals(batch)
    seconds = time.perf_counter() - start
    maker.close()
    engine = "" if execution.engine == "none" else f"engine {execution.engine}, "
    how = f"{engine}batches of {execution.batch_size}"
    return FeaturizingSpeed(count / seconds, how, max(0, peak_memory_on(maker.device) - before))


def measure_arithmetic() -> ArithmeticSpeed:
    """Time products of two square matrices."""
    return ArithmeticSpeed(_products(np.float32), _products(np.float64))


def _products(dtype: type[np.floating]) -> float:
    matrix = np.ones((_MATRIX, _MATRIX), dtype)
    matrix @ matrix
    start = time.perf_counter()
    matrix @ matrix
    return 2 * _MATRIX**3 / (time.perf_counter() - start)
