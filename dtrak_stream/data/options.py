"""The shape of images, and how they are brought to it: the same for train and query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dtrak_stream.errors import ConfigurationError


@dataclass(frozen=True)
class ImageShape:
    """What a model wants, or an image has: channels, height and width in pixels."""

    channels: int
    """Number of channels: 1 grayscale, 3 RGB."""
    height: int
    """Number of rows."""
    width: int
    """Number of columns."""

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True)
class ImageOptions:
    """How images are brought to the model's shape."""

    image_fit: Literal["exact", "crop", "stretch"] = "exact"
    """exact: images must have the model's size; crop: shrink or enlarge until the model's size is
    covered (bicubic, antialiased), then cut the centre; stretch: resize to the model's size."""
    center_crop: int | None = None
    """Cut a centred square of this many pixels first (CelebA is usually cut to 140)."""
    channels: Literal["exact", "convert"] = "exact"
    """exact: images must have the model's channels; convert: grayscale and RGB are turned into
    each other, and transparency is laid on white."""
    image_column: str | None = None
    """Image column of a Hugging Face data set (default: its only one)."""
    split: str = "train"
    """Split of a Hugging Face data set that has several."""

    def __post_init__(self) -> None:
        if self.center_crop is not None and self.center_crop < 1:
            raise ConfigurationError(
                f"{self.center_crop} is not a number of pixels",
                where="--center-crop",
                remedy="give a whole number of at least 1",
            )
