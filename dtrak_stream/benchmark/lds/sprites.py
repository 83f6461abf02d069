"""Sprites of the game Crossfire (GPL), shrunk to 16x16 RGB: the benchmark's data set of colours.

Debian's package crossfire-client-images has them in one file, `crossfire.base`: records of a line
`IMAGE <length> ./arch/<class>/...` and as many bytes of a PNG. Small moving figures, arms and
tiles of many colours, in which a distance of pixels means little.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.support.durable import write_npy

CLASSES = ("monster", "player", "weapon", "armour", "wall", "ground", "floor")
TRAIN_IMAGES, VALIDATION_IMAGES = 1000, 200

_SIDE, _FULL_SIDE = 16, 32
_LONGEST_NAME = 4096
_REMEDY = (
    "give the file crossfire.base, such as Debian's package crossfire-client-images has, or its "
    "folder"
)

RgbImages = NDArray[np.uint8]


def write_sprites(source: Path, train: Path, validation: Path) -> None:
    """Write different sprites of several classes on black, as arrays (N, 16, 16, 3) uint8.

    Equal images are taken once, and all come in the order of a hash of their pixels, so that
    neither depends on how the file is ordered.

    Parameters
    ----------
    source
        The file `crossfire.base`, or its folder.
    train, validation
        .npy files to write, 1,000 and 200 images; what is there already is kept.

    Raises
    ------
    InputError, CorruptFileError
        If the file is not there, or is not what its name says.
    """
    if train.exists() and validation.exists():
        return
    images = read_sprites(source, CLASSES)
    wanted = TRAIN_IMAGES + VALIDATION_IMAGES
    if len(images) < wanted:
        raise CorruptFileError(
            f"holds {len(images)} different sprites of {', '.join(CLASSES)}, not {wanted}",
            where=source,
            remedy=_REMEDY,
        )
    write_npy(train, images[:TRAIN_IMAGES])
    write_npy(validation, images[TRAIN_IMAGES : TRAIN_IMAGES + VALIDATION_IMAGES])


def write_other_sprites(source: Path, out: Path) -> None:
    """Write the sprites of all other classes, but for those that look like one of these.

    Parameters
    ----------
    source
        The file `crossfire.base`, or its folder.
    out
        .npy file to write, (N, 16, 16, 3) uint8; one that is there already is kept.

    Raises
    ------
    InputError, CorruptFileError
        If the file is not there, or is not what its name says.
    """
    if out.exists():
        return
    known = {image.tobytes() for image in read_sprites(source, CLASSES)}
    others = read_sprites(source, None)
    write_npy(out, np.stack([image for image in others if image.tobytes() not in known]))


def read_sprites(source: Path, classes: tuple[str, ...] | None) -> RgbImages:
    """Return all different 32x32 sprites of some classes (None: of all), in order of their hash.

    Parameters
    ----------
    source
        The file `crossfire.base`, or its folder.
    classes
        First folders of their names.

    Returns
    -------
    ndarray
        (N, 16, 16, 3) uint8.

    Raises
    ------
    InputError, CorruptFileError
        If the file is not there, or not of this kind.
    """
    path = source / "crossfire.base" if source.is_dir() else source
    different = {
        hashlib.sha256(image.tobytes()).digest(): image
        for name, content in _records(path)
        if classes is None or _class_of(name) in classes
        if (image := _decoded(path, name, content)) is not None
    }
    if not different:
        raise CorruptFileError("holds no sprite of 32x32", where=path, remedy=_REMEDY)
    return np.stack([different[key] for key in sorted(different)])


def _class_of(name: str) -> str:
    return name.removeprefix("./arch/").partition("/")[0]


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each record."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read ({error})", where=path, remedy=_REMEDY) from error
    with file:
        while line := file.readline(_LONGEST_NAME):
            words = line.decode("latin-1").split()
            if len(words) != 3 or words[0] != "IMAGE" or not words[1].isdecimal():
                raise CorruptFileError(
                    f"holds {line[:40]!r} where a line IMAGE LENGTH NAME is due",
                    where=path,
                    remedy=_REMEDY,
                )
            content = file.read(int(words[1]))
            if len(content) < int(words[1]):
                raise CorruptFileError(f"ends within {words[2]}", where=path, remedy=_REMEDY)
            yield words[2], content


def _decoded(path: Path, name: str, content: bytes) -> RgbImages | None:
    """Return a sprite on black (16, 16, 3); None for one of another size."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            if opened.size != (_FULL_SIDE, _FULL_SIDE):
                return None
            sprite = opened.convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise CorruptFileError(
            f"the image {name} cannot be decoded ({error})", where=path, remedy=_REMEDY
        ) from error
    black = Image.new("RGBA", sprite.size, (0, 0, 0, 255))
    black.alpha_composite(sprite)
    return np.asarray(black.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX))
