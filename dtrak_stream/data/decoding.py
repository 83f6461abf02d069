"""From the bytes of an image file to pixels: the one place where Pillow decodes."""

from __future__ import annotations

import re
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dtrak_stream.data.source import brief
from dtrak_stream.errors import BadImageError

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
        *(".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)
"""File name endings, in lower case, that are taken for images."""

_PLAIN_MODES = {"L", "LA", "RGB", "RGBA"}
_CONVERTED_MODES = {"1": "L", "La": "LA", "RGBa": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}
_SIXTEEN_BITS = re.compile(r";16[BLNS]")


def decode(file: IO[bytes]) -> NDArray[np.uint8]:
    """Decode one image file.

    Parameters
    ----------
    file
        The encoded image, open for reading and seekable. It is left open.

    Returns
    -------
    numpy.ndarray
        (height, width, channels) uint8; 1 channel is grayscale, 2 grayscale with alpha, 3 RGB,
        4 RGB with alpha. EXIF rotation has been applied.

    Raises
    ------
    BadImageError
        If the file is empty, truncated, corrupt, not an image, unreasonably large, or has
        pixels of more than 8 bits.
    """
    try:
        return _decode(file)
    except (BadImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImageError(_why_unidentified(file)) from error
    except Exception as error:  # decoders meet corrupt bytes with exceptions of every kind
        raise BadImageError(f"cannot be decoded ({brief(error)})") from error


def _decode(file: IO[bytes]) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        _require_reasonable_size(image)
        _require_eight_bits(image)
        upright = ImageOps.exif_transpose(image)
        pixels: NDArray[np.uint8] = np.asarray(_plain(upright), dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _plain(image: Image.Image) -> Image.Image:
    """Bring an image to one of the modes L, LA, RGB and RGBA without losing anything."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in _CONVERTED_MODES:
        image = image.convert(_CONVERTED_MODES[image.mode])
    if image.mode not in _PLAIN_MODES:
        raise BadImageError(f"pixel mode {image.mode} is not supported; save it as 8-bit RGB")
    if image.mode in ("L", "RGB") and image.has_transparency_data:
        return image.convert(image.mode + "A")
    return image


def _require_reasonable_size(image: Image.Image) -> None:
    # Pillow only warns about what is up to twice its limit.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise BadImageError(
            f"decompression bomb ({image.width}x{image.height} pixels, the limit is {limit})"
        )


def _require_eight_bits(image: Image.Image) -> None:
    # Pillow drops the lower byte of 16-bit colour without a word; only the raw mode tells.
    sixteen = any(_SIXTEEN_BITS.search(str(tile[3])) for tile in getattr(image, "tile", ()))
    if sixteen or image.mode == "I" or image.mode.startswith("I;16"):
        raise BadImageError("16-bit pixels are not supported; save it with 8 bits a channel")
    if image.mode == "F":
        raise BadImageError("floating-point pixels are not supported; save it as 8-bit")


def _why_unidentified(file: IO[bytes]) -> str:
    file.seek(0)
    return "not an image that Pillow can read" if file.read(1) else "the file is empty (0 bytes)"
