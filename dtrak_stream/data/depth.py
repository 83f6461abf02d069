"""Image files with more than 8 bits a channel."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from dtrak_stream.data.options import DepthName
from dtrak_stream.data.source import Pixels
from dtrak_stream.errors import BadImageError

_SIXTEEN_BITS = re.compile(r";16[BLNS]")
_SIGNED = re.compile(r";16[BLN]?S")
_LARGEST = 2**16 - 1
_SAVE_OTHERWISE = "save it with 8 bits a channel"


def is_deep(image: Image.Image, reading: DepthName) -> bool:
    """Return whether an image that is opened, but not loaded, has 16 bits a channel.

    Raises
    ------
    BadImageError
        If it has, and `reading` does not say what becomes of them; or if its pixels have more
        bits, or are signed or floating-point numbers.
    """
    # Pillow drops the lower byte of 16-bit colour without a word; only the raw mode tells.
    parameters = [str(tile[3]) for tile in getattr(image, "tile", ())]
    if image.mode == "F":
        raise BadImageError(f"floating-point pixels are not supported; {_SAVE_OTHERWISE}")
    if any(map(_SIGNED.search, parameters)):
        raise BadImageError(f"signed 16-bit pixels are not supported; {_SAVE_OTHERWISE}")
    is_portable = image.format == "PPM"  # Pillow scales these to 16 bits gray, or 8 bits colour
    sixteen = any(map(_SIXTEEN_BITS.search, parameters)) or image.mode.startswith("I;16")
    if image.mode == "I" and not (sixteen or is_portable):
        raise BadImageError(f"32-bit pixels are not supported; {_SAVE_OTHERWISE}")
    if is_portable and image.mode != "I" and _is_scaled_down(image):
        raise BadImageError(f"16-bit colour of a PPM file is not supported; {_SAVE_OTHERWISE}")
    deep = sixteen or image.mode == "I"
    if deep and reading == "refuse":
        raise BadImageError(
            f"16-bit pixels: say how to read them with --depth16 high-byte, scale or pillow, or "
            f"{_SAVE_OTHERWISE}"
        )
    return deep


def deep_pixels(image: Image.Image, reading: DepthName) -> Pixels:
    """Return the pixels of a loaded 16-bit image.

    Returns
    -------
    numpy.ndarray
        (height, width) or (height, width, channels), uint8; float32 in [-1, 1] for `scale`.

    Raises
    ------
    BadImageError
        If it is in colour, of which Pillow gives the upper bytes only, and those do not do; or
        if one shade of gray is transparent.
    """
    is_gray = image.mode == "I" or image.mode.startswith("I;16")
    if "transparency" in image.info:
        raise BadImageError(f"16-bit pixels with a transparent colour; {_SAVE_OTHERWISE}")
    if is_gray:
        return _gray(np.asarray(image).astype(np.int64), reading)
    if reading == "scale":
        raise BadImageError(
            "16-bit colour is read by its upper bytes only: use --depth16 high-byte or pillow"
        )
    return np.asarray(image, dtype=np.uint8)


def _gray(values: np.ndarray, reading: DepthName) -> Pixels:
    if reading == "scale":
        return (values * (2 / _LARGEST) - 1).clip(-1, 1).astype(np.float32)
    shades = values >> 8 if reading == "high-byte" else values.clip(0, 255)
    return shades.astype(np.uint8)


def _is_scaled_down(image: Image.Image) -> bool:
    """Return whether a PPM file has channels of more than 8 bits."""
    parameters = (tile[3] for tile in getattr(image, "tile", ()))
    return any(isinstance(each, tuple) and int(each[-1]) > 255 for each in parameters)
