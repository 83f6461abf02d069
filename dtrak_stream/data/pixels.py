"""From the bytes of an image file to pixels in the shape the model wants.

This is the one place where Pillow decodes.
"""

from __future__ import annotations

import re
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.source import Pixels, brief
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
_LUMA = np.array([19595, 38470, 7471]) / 65536  # ITU-R 601-2, in the fractions Pillow uses
_MOST_PIXELS_AFTER_RESIZE = 2**28


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


def shape_of(pixels: Pixels) -> ImageShape:
    """Return the shape of (height, width, channels) pixels."""
    height, width, channels = pixels.shape
    return ImageShape(channels, height, width)


def native_shape(found: ImageShape, options: ImageOptions) -> ImageShape:
    """Return the shape an image of shape `found` has when no model asks for another."""
    size = _cropped_size(found, options)
    channels = found.channels
    if options.channels == "convert" and channels in (2, 4):
        channels -= 1
    return ImageShape(channels, *size)


def cures(found: ImageShape, wanted: ImageShape, options: ImageOptions) -> list[str]:
    """Return what would make images of shape `found` usable; nothing if they are."""
    needed = []
    if found.channels != wanted.channels:
        if found.channels not in (1, 2, 3, 4) or wanted.channels not in (1, 3):
            needed.append(f"give images with {wanted.channels} channels")
        elif options.channels == "exact":
            needed.append("use --channels convert")
    shorter = min(found.height, found.width)
    if options.center_crop is not None and options.center_crop > shorter:
        needed.append(f"use a --center-crop of at most {shorter}")
        return needed
    same_size = _cropped_size(found, options) == (wanted.height, wanted.width)
    if options.image_fit == "exact" and not same_size:
        needed.append("use --image-fit crop (or stretch)")
    return needed


def fit(pixels: Pixels, wanted: ImageShape, options: ImageOptions) -> Pixels:
    """Bring one image to the shape `wanted`.

    Transparency and channels come first, then the centre crop, then the size.

    Parameters
    ----------
    pixels
        (height, width, channels) uint8, or float32 in [-1, 1].
    wanted
        The shape to give it.
    options
        What may be done to it.

    Returns
    -------
    numpy.ndarray
        (wanted.height, wanted.width, wanted.channels) of the same dtype and range.

    Raises
    ------
    BadImageError
        If `options` do not allow what would be needed.
    """
    found = shape_of(pixels)
    needed = cures(found, wanted, options)
    if needed:
        raise BadImageError(f"the image is {found}, not {wanted}: {' and '.join(needed)}")
    converted = _convert_channels(pixels, wanted.channels)
    cropped = _centre(converted, *_cropped_size(found, options))
    if options.image_fit == "crop":
        return _cover(cropped, wanted.height, wanted.width)
    return _resize(cropped, wanted.height, wanted.width)


def _cropped_size(found: ImageShape, options: ImageOptions) -> tuple[int, int]:
    if options.center_crop is None:
        return found.height, found.width
    return options.center_crop, options.center_crop


def _convert_channels(pixels: Pixels, channels: int) -> Pixels:
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] in (2, 4):
        pixels = _on_white(pixels)
    if pixels.shape[2] == 3 and channels == 1:
        return _in_range((pixels @ _LUMA)[:, :, None], like=pixels)  # (H, W, 3) @ (3,)
    if pixels.shape[2] == 1 and channels == 3:
        return pixels.repeat(3, axis=2)
    return pixels


def _on_white(pixels: Pixels) -> Pixels:
    black, white = (0.0, 255.0) if pixels.dtype == np.uint8 else (-1.0, 1.0)
    opacity = (pixels[:, :, -1:].astype(np.float64) - black) / (white - black)
    return _in_range(pixels[:, :, :-1] * opacity + white * (1 - opacity), like=pixels)


def _in_range(values: NDArray[np.float64], like: Pixels) -> Pixels:
    if like.dtype == np.uint8:
        return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
    return values.clip(-1, 1).astype(np.float32)


def _cover(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize so that (height, width) is just covered, then cut the centre."""
    found_height, found_width, _ = pixels.shape
    if found_height * width <= found_width * height:
        covering = height, found_width * height // found_height
    else:
        covering = found_height * width // found_width, width
    if covering[0] * covering[1] > _MOST_PIXELS_AFTER_RESIZE:
        raise BadImageError(f"{found_height}x{found_width} is too long and thin to crop")
    return _centre(_resize(pixels, *covering), height, width)


def _centre(pixels: Pixels, height: int, width: int) -> Pixels:
    top = round((pixels.shape[0] - height) / 2)
    left = round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = [Image.fromarray(plane) for plane in np.ascontiguousarray(pixels.transpose(2, 0, 1))]
    resized = [plane.resize((width, height), Image.Resampling.BICUBIC) for plane in planes]
    stacked: Pixels = np.stack([np.asarray(plane) for plane in resized], axis=2)
    # Bicubic weights can leave the range; for uint8 Pillow has cut that off already.
    return stacked if stacked.dtype == np.uint8 else stacked.clip(-1, 1)
