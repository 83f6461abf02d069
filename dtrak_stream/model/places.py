"""Where models lie: folders of the user, the one that comes along, and the hub."""

from __future__ import annotations

import re
from pathlib import Path

from dtrak_stream.errors import InputError

EMBEDDED_MODEL = "embedded:digits_ddpm"
"""A small model of digits."""
EMBEDDED_BASE = "embedded:garments_sd"
"""A small text-to-image model of garments."""
EMBEDDED_LORA = "embedded:digits_lora"
"""A LoRA on it, of digits."""
EMBEDDED_SPRITES = "embedded:sprites_ddpm"
"""A small model of sprites in colour."""
EMBEDDED_SPRITES_FIRST = "embedded:sprites_first"
"""What its training began with: a model of other sprites."""
EMBEDDED_FASHION_MNIST = "embedded:fashion_mnist_ddpm"
"""A small model of trousers and sneakers."""
EMBEDDED_FASHION_MNIST_FIRST = "embedded:fashion_mnist_first"
"""What its training began with: a model of other garments."""
EMBEDDED = (
    *(EMBEDDED_MODEL, EMBEDDED_BASE, EMBEDDED_LORA),
    *(EMBEDDED_SPRITES, EMBEDDED_SPRITES_FIRST),
    *(EMBEDDED_FASHION_MNIST, EMBEDDED_FASHION_MNIST_FIRST),
)
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded"
HUB = "hf:"
GIVEN = "python:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def place_of(name: str) -> Path:
    """Return the path that is named, or where what comes along under this name is."""
    return EMBEDDED_FOLDER / name.partition(":")[2] if name in EMBEDDED else Path(name)


def model_root(folder: str) -> Path:
    """Return the pipeline folder that `folder` names: a path, or a model that comes along.

    Raises
    ------
    InputError
        If it is what records call a model that was given from Python.
    """
    if folder.startswith(GIVEN) and not Path(folder).exists():
        raise InputError(
            "is no folder: this model was given from Python",
            where=folder,
            remedy="give it there again (denoiser=...)",
        )
    return place_of(folder)


def hub_name(model: str) -> str | None:
    """Return what a model is called on the hub, OWNER/NAME; None if it is a folder.

    A name without `hf:` in front is one of the hub if it could be, and there is no folder OWNER
    here in which a folder NAME might have been meant.

    Raises
    ------
    InputError
        If it begins with `hf:` and is no such name.
    """
    name = model.removeprefix(HUB)
    if _HUB_NAME.fullmatch(name) is None:
        if name == model:
            return None
        raise InputError(
            "is no name of a model on the hub", where=model, remedy=f"write {HUB}OWNER/NAME"
        )
    return None if name == model and Path(name).parent.exists() else name
