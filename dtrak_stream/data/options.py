"""The shape of images, and how they are brought to it: the same for train and query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tyro

from dtrak_stream.data.presets import PRESETS, PresetName, unless_preset, was_left_out
from dtrak_stream.data.splits import USUAL
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import REPEATABLE

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

    @classmethod
    def of_text(cls, text: str) -> ImageShape:
        """Return the shape that is written so, as in fingerprints: 3x32x32."""
        return cls(*map(int, text.split("x")))


@dataclass(frozen=True)
class ImageOptions:
    """How images are brought to the model's shape."""

    preset: InitVar[PresetName | None] = None
    """What a well-known training script did with its images; options that are given besides win.
    diffusers-unconditional: --image-fit crop --resample bilinear --channels convert --alpha drop
    --exif apply --depth16 pillow; diffusers-text-to-image: the same with --resample lanczos;
    d-trak: as the first with --exif ignore (for CelebA, --center-crop 140 comes besides)."""
    image_fit: FitName = field(default=unless_preset("exact"))
    """exact: images must have the model's size; crop: shrink or enlarge until the model's size is
    covered (antialiased), then cut the centre; stretch: resize to the model's size."""
    center_crop: int | None = None
    """Cut a centred square of this many pixels first (CelebA is usually cut to 140)."""
    channels: Literal["exact", "convert"] = field(default=unless_preset("exact"))
    """exact: images must have the model's channels; convert: grayscale and RGB are turned into
    each other, and transparency goes where --alpha says."""
    alpha: AlphaName = field(default=unless_preset("white"))
    """What --channels convert does with transparency: it is laid on white or black, or dropped, so
    that the colours below it show, as convert("RGB") in training scripts does."""
    resample: ResampleName = field(default=unless_preset("bicubic"))
    """Filter of --image-fit crop and stretch; scripts of diffusers take bilinear or lanczos."""
    exif: Literal["apply", "ignore"] = field(default=unless_preset("apply"))
    """Whether to turn images as their EXIF tells: Hugging Face datasets does, torchvision does
    not. TIFF files are turned by Pillow either way."""
    depth16: DepthName = field(default=unless_preset("refuse"))
    """Pixels of 16 bits: high-byte keeps the upper 8; scale keeps all, as gray from 0 to 65535;
    pillow is what its convert("RGB") gives: colours like high-byte, gray cut off at 255."""
    float_range: RangeName = "auto"
    """What the floats of an array mean: signed is black -1 to white 1, unit is black 0 to white 1;
    auto takes them for signed if some are negative, and refuses them otherwise."""
    image_column: str | None = None
    """Image column of a Hugging Face data set (default: its only one)."""
    split: str | None = None
    """Split to read where there are several: of a Hugging Face data set, or train, validation and
    test where names of files or folders, or a column split of a list, tell them; all for all."""
    path_column: str | None = None
    """Column of list:FILE that holds the paths of images (default: path, file_name, image or
    file), or a pattern of columns such as images/{label}/{name}."""
    where: tuple[str, ...] = field(default=(), metadata=REPEATABLE)
    """Keep the rows of which a column has a value: COLUMN=VALUE, of a list, a data set or whatever
    lies beside the images; several must all hold."""
    rows: Path | None = None
    """File of row numbers (.txt, .npy, .json, .pkl; the first row is 0) that picks images and puts
    them in order; they count after --where, and a range [a:b] and --limit count after them."""

    def __post_init__(self, preset: PresetName | None) -> None:
        if preset is not None:
            self._take(PRESETS[preset])
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
        refuse_no_conditions(self.where, "--where")

    def elsewhere(self, split: str | None) -> ImageOptions:
        """Return the same for images of another source, of which no rows are picked."""
        return replace(self, split=split, where=(), rows=None)

    def _take(self, values: Mapping[str, str]) -> None:
        """Take the values of a preset where none was given, and none that would do nothing."""
        for name, value in values.items():
            idle = (name == "alpha" and self.channels == "exact") or (
                name == "resample" and self.image_fit == "exact"
            )
            if was_left_out(getattr(self, name)) and not idle:
                object.__setattr__(self, name, value)


ImageFlags = Annotated[tyro.conf.OmitArgPrefixes[ImageOptions], tyro.conf.arg(name="image")]
"""The same as flags without a prefix, framed as "image options" in help."""


def refuse_no_conditions(conditions: Sequence[str], flag: str) -> None:
    """Refuse what is no condition COLUMN=VALUE, and two about one column.

    Raises
    ------
    ConfigurationError
        Naming it.
    """
    columns = [condition.partition("=")[0] for condition in conditions]
    for condition, column in zip(conditions, columns, strict=True):
        if not column.strip() or not condition[len(column) + 1 :].strip():
            problem = "is no condition"
        elif columns.count(column) > 1:
            problem = f"no row has two values in the column {column}"
        else:
            continue
        raise ConfigurationError(
            problem,
            where=f"{flag} {condition}",
            remedy="write COLUMN=VALUE, once for each column",
        )


_WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "alpha": ("white",),
    "resample": ("bicubic",),
    "exif": ("apply",),
    "depth16": ("refuse",),
    # the source says in its layout what its floats mean
    "float_range": ("auto", "signed", "unit"),
}
"""Values with which images are what they are for whoever has no such option."""
_PICKING = ("path_column", "where", "rows")
"""Options that pick images: which these are, their names and contents tell."""


def with_effect(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options, by field or flag, that decide what images are.

    Those that leave images as they are without such an option are left out: what was recorded
    before there was the option stays comparable. A split that was not chosen is the usual one.
    """
    fields = {name: name.replace("-", "_") for name in options}
    decisive = {
        name: value
        for name, value in options.items()
        if fields[name] not in _PICKING and value not in _WITHOUT_EFFECT.get(fields[name], ())
    }
    return decisive | {"split": options.get("split") or USUAL}
