"""What well-known training scripts did with their images, as values of image options.

- `diffusers-unconditional`: examples/unconditional_image_generation/train_unconditional.py of
  diffusers with `--center_crop`: `Resize(resolution, BILINEAR)` of the shorter side, `CenterCrop`,
  `convert("RGB")`; images come from datasets, which turns them as their EXIF tells.
- `diffusers-text-to-image`: examples/text_to_image/train_text_to_image.py (and its LoRA version)
  with `--center_crop`: the same, but LANCZOS.
- `d-trak`: the scripts of https://github.com/sail-sg/D-TRAK: bilinear as the first, images opened
  by a datasets that did not turn any, or by Pillow. CelebA is cut to 140 pixels before
  (`--center-crop 140`), images that were generated are not.

Random flips and random crops of a training script have no counterpart: features are of one view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, TypeVar, cast

PresetName: TypeAlias = Literal["diffusers-unconditional", "diffusers-text-to-image", "d-trak"]

_UNCONDITIONAL = {
    "image_fit": "crop",
    "resample": "bilinear",
    "channels": "convert",
    "alpha": "drop",
    "exif": "apply",
    "depth16": "pillow",
}

PRESETS: Mapping[PresetName, Mapping[str, str]] = {
    "diffusers-unconditional": _UNCONDITIONAL,
    "diffusers-text-to-image": {**_UNCONDITIONAL, "resample": "lanczos"},
    "d-trak": {**_UNCONDITIONAL, "exif": "ignore"},
}
"""Values by the fields of `ImageOptions`."""

_Name = TypeVar("_Name", bound=str)
_left_out: dict[int, str] = {}


def unless_preset(value: _Name) -> _Name:
    """Return a default, equal to `value`, that `was_left_out` tells from the same word given."""
    default = str(value.encode(), "ascii")  # an object of its own: literals are shared
    _left_out[id(default)] = default
    return cast(_Name, default)


def was_left_out(value: str) -> bool:
    """Return whether a value is a default that nobody gave."""
    return _left_out.get(id(value)) is value
