"""Every option of the benchmark of a million images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.methods import methods_of_images_and_model
from dtrak_stream.support.option_values import require_number

RgbModelName: TypeAlias = Literal["rgb32", "cifar"]

_USUAL = ("mix", "best", "pixel-rbf", "d-trak", "trak", "das", "pixel-cosine")


@dataclass(frozen=True)
class MillionConfig:
    """Say by plans how long attributing to very many 32x32 RGB images would take, by each method.

    Each method is planned as dtrak-stream plan does it, with its own features and usual options: a
    few random images are featurized and a few matrices multiplied, and the rest is reckoned.
    """

    methods: tuple[str, ...] = _USUAL
    """Methods to plan."""
    model: RgbModelName = "rgb32"
    """A UNet of random weights: rgb32, 3.1M parameters; cifar, the 35.7M of the DDPM paper."""
    images: int = 1_000_000
    """N, the number of training images."""
    queries: int = 100
    """Q, the number of queries."""
    measured_images: int = 16
    """Random images that are featurized at least, for each kind of features."""
    out: Path = Path("runs/bench/million")
    """Results: OUT.json and OUT.md."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--images", self.images),
            ("--queries", self.queries),
            ("--measured-images", self.measured_images),
        ):
            require_number(flag, value, 1)
        if not self.methods:
            raise ConfigurationError("none", where="--methods", remedy="give at least one")
        for name in self.methods:
            if name not in plannable_methods():
                raise ConfigurationError(
                    "is no method, or not one of images and a model alone",
                    where=f"--methods {name}",
                    remedy=f"name some of {', '.join(plannable_methods())}",
                )


def plannable_methods() -> list[str]:
    """Return the names of the methods that take nothing but images and a model."""
    return [method.name for method in methods_of_images_and_model()]
