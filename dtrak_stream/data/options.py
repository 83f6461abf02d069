"""The shape of images, and how they are brought to it: the same for train and query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import tyro

from dtrak_stream.data.splits import USUAL
from dtrak_stream.errors import ConfigurationError

RangeName: TypeAlias = Literal["auto", "signed", "unit"]
"""What a user says of floats: see `ImageOptions.float_range`."""
FitName: TypeAlias = Literal["exact", "crop", "stretch"]
AlphaName: TypeAlias = Literal["white", "black", "drop"]
ResampleName: TypeAlias = Literal["bicubic", "bilinear", "lanczos"]
DepthName: TypeAlias = Literal["refuse", "high-byte", "scale", "pillow"]


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

    image_fit: FitName = "exact"
    """exact: images must have the model's size; crop: shrink or enlarge until the model's size is
    covered (antialiased), then cut the centre; stretch: resize to the model's size."""
    center_crop: int | None = None
    """Cut a centred square of this many pixels first (CelebA is usually cut to 140)."""
    channels: Literal["exact", "convert"] = "exact"
    """exact: images must have the model's channels; convert: grayscale and RGB are turned into
    each other, and transparency goes where --alpha says."""
    alpha: AlphaName = "white"
    """What --channels convert does with transparency: it is laid on white or black, or dropped, so
    that the colours below it show, as convert("RGB") in training scripts does."""
    resample: ResampleName = "bicubic"
    """Filter of --image-fit crop and stretch; scripts of diffusers take bilinear or lanczos."""
    exif: Literal["apply", "ignore"] = "apply"
    """Whether to turn images as their EXIF tells: Hugging Face datasets does, torchvision does
    not. TIFF files are turned by Pillow either way."""
    depth16: DepthName = "refuse"
    """Pixels of 16 bits: high-byte keeps the upper 8; scale keeps all, as gray from 0 to 65535;
    pillow is what its convert("RGB") gives: colours like high-byte, gray cut off at 255."""
    float_range: RangeName = "auto"
    """What the floats of an array mean: signed is black -1 to white 1, unit is black 0 to white 1;
    auto takes them for signed if some are negative, and refuses them otherwise."""
    image_column: str | None = None
    """Image column of a Hugging Face data set (default: its only one)."""
    split: str | None = None
    """Split to read where there are several: of a Hugging Face data set, or train, validation and
    test where names of files or folders tell them; all for all."""

    def __post_init__(self) -> None:
        if self.center_crop is not None and self.center_crop < 1:
            raise ConfigurationError(
                f"{self.center_crop} is not a number of pixels",
                where="--center-crop",
                remedy="give a whole number of at least 1",
            )
        if self.alpha != "white" and self.channels == "exact":
            raise ConfigurationError(
                "transparency stays where channels are not converted",
                where=f"--alpha {self.alpha}",
                remedy="use --channels convert with it, or leave it out",
            )
        if self.resample != "bicubic" and self.image_fit == "exact":
            raise ConfigurationError(
                "nothing is resized where images must have the model's size",
                where=f"--resample {self.resample}",
                remedy="use --image-fit crop (or stretch) with it, or leave it out",
            )


ImageFlags = Annotated[tyro.conf.OmitArgPrefixes[ImageOptions], tyro.conf.arg(name="image")]
"""The same as flags without a prefix, framed as "image options" in help."""


_WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "alpha": ("white",),
    "resample": ("bicubic",),
    "exif": ("apply",),
    "depth16": ("refuse",),
    # the source says in its layout what its floats mean
    "float_range": ("auto", "signed", "unit"),
}
"""Values with which images are what they are for whoever has no such option."""


def with_effect(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options, by field or flag, that decide what images are.

    Those that leave images as they are without such an option are left out: what was recorded
    before there was the option stays comparable. A split that was not chosen is the usual one.
    """
    decisive = {
        name: value
        for name, value in options.items()
        if value not in _WITHOUT_EFFECT.get(name.replace("-", "_"), ())
    }
    return decisive | {"split": options.get("split") or USUAL}
