"""Two classes of Fashion-MNIST (Xiao et al. 2017), shrunk to 16x16: the benchmark's second data."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.fitting import fit
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.support.durable import write_npy

CLASSES = (1, 7)
"""Trousers and sneakers."""
TRAIN_IMAGES, VALIDATION_IMAGES = 1000, 200
OTHER_IMAGES = 3000

_SIZE = ImageShape(1, 16, 16)
_MAGIC = {3: b"\x00\x00\x08\x03", 1: b"\x00\x00\x08\x01"}  # IDX: uint8, so many axes
_REMEDY = (
    "give the folder of the original IDX files, such as Debian's package dataset-fashion-mnist has"
)


def write_fashion_mnist(source: Path, train: Path, validation: Path) -> None:
    """Write the first images of both classes as arrays (N, 16, 16) uint8.

    Parameters
    ----------
    source
        Folder of the four IDX files, as they are distributed.
    train, validation
        .npy files to write, 1,000 and 200 images; one that is there already is kept.

    Raises
    ------
    InputError, CorruptFileError
        If the files are not there, or are not what their name says.
    """
    for part, wanted, path in (
        ("train", TRAIN_IMAGES, train),
        ("t10k", VALIDATION_IMAGES, validation),
    ):
        if not path.exists():
            write_npy(path, _first_images(source, part, wanted, other=False))


def write_other_garments(source: Path, out: Path) -> None:
    """Write the first images of all other classes.

    Parameters
    ----------
    source
        Folder of the four IDX files, as they are distributed.
    out
        .npy file to write, (3000, 16, 16) uint8; one that is there already is kept.

    Raises
    ------
    InputError, CorruptFileError
        If the files are not there, or are not what their name says.
    """
    if not out.exists():
        write_npy(out, _first_images(source, "train", OTHER_IMAGES, other=True))


def _first_images(source: Path, part: str, wanted: int, *, other: bool) -> NDArray[np.uint8]:
    """Return the first so many images of both classes, or of all others."""
    images = _read_idx(source / f"{part}-images-idx3-ubyte.gz", axes=3)  # (N, 28, 28)
    labels = _read_idx(source / f"{part}-labels-idx1-ubyte.gz", axes=1)  # (N,)
    chosen = images[np.isin(labels, CLASSES, invert=other)][:wanted]
    shrink = ImageOptions(image_fit="crop")
    return np.stack([fit(image[:, :, None], _SIZE, shrink)[:, :, 0] for image in chosen])


def _read_idx(path: Path, *, axes: int) -> NDArray[Any]:
    try:
        with gzip.open(path) as file:
            content = file.read()
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=path, remedy=_REMEDY) from error
    except (OSError, EOFError) as error:
        raise CorruptFileError(f"cannot be read ({error})", where=path, remedy=_REMEDY) from error
    header = 4 + 4 * axes
    shape = np.frombuffer(content[4:header], ">u4")
    if content[:4] != _MAGIC[axes] or len(content) != header + shape.prod(dtype=np.int64):
        raise CorruptFileError("is not IDX of this kind", where=path, remedy=_REMEDY)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
