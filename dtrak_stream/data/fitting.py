"""Pixels brought to the channels and size the model wants."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dtrak_stream.data.options import AlphaName, ImageOptions, ImageShape, ResampleName
from dtrak_stream.data.samples import ImageOrigin
from dtrak_stream.data.source import Pixels
from dtrak_stream.errors import BadImageError

_LUMA = np.array([19595, 38470, 7471]) / 65536  # ITU-R 601-2, in the fractions Pillow uses
_MOST_PIXELS_AFTER_RESIZE = 2**28
_FILTERS: dict[ResampleName, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


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
    converted = _convert_channels(pixels, wanted.channels, options.alpha)
    cropped = _centre(converted, *_cropped_size(found, options))
    resampling = _FILTERS[options.resample]
    if options.image_fit == "crop":
        return _cover(cropped, wanted.height, wanted.width, resampling)
    return _resize(cropped, wanted.height, wanted.width, resampling)


def origin_of(found: ImageShape, wanted: ImageShape, options: ImageOptions) -> ImageOrigin:
    """Return what diffusers' scripts for Stable Diffusion XL note of an image that `fit` takes.

    That is its size before it is resized, and the corner that is then cut at
    (`original_size` and `crop_top_left`). What `center_crop` cuts away first was not there for
    such a script.
    """
    height, width = _cropped_size(found, options)
    if options.image_fit != "crop":
        return ImageOrigin(height, width)
    covering = _covering(height, width, wanted.height, wanted.width)
    return ImageOrigin(height, width, *_corner(*covering, wanted.height, wanted.width))


def _cropped_size(found: ImageShape, options: ImageOptions) -> tuple[int, int]:
    if options.center_crop is None:
        return found.height, found.width
    return options.center_crop, options.center_crop


def _convert_channels(pixels: Pixels, channels: int, alpha: AlphaName) -> Pixels:
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] in (2, 4):
        pixels = _without_alpha(pixels, alpha)
    if pixels.shape[2] == 3 and channels == 1:
        return _in_range((pixels @ _LUMA)[:, :, None], like=pixels)  # (H, W, 3) @ (3,)
    if pixels.shape[2] == 1 and channels == 3:
        return pixels.repeat(3, axis=2)
    return pixels


def _without_alpha(pixels: Pixels, alpha: AlphaName) -> Pixels:
    if alpha == "drop":
        return pixels[:, :, :-1]
    black, white = (0.0, 255.0) if pixels.dtype == np.uint8 else (-1.0, 1.0)
    opacity = (pixels[:, :, -1:].astype(np.float64) - black) / (white - black)
    ground = white if alpha == "white" else black
    return _in_range(pixels[:, :, :-1] * opacity + ground * (1 - opacity), like=pixels)


def _in_range(values: NDArray[np.float64], like: Pixels) -> Pixels:
    if like.dtype == np.uint8:
        return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
    return values.clip(-1, 1).astype(np.float32)


def _cover(pixels: Pixels, height: int, width: int, resampling: Image.Resampling) -> Pixels:
    """Resize so that (height, width) is just covered, then cut the centre."""
    found_height, found_width, _ = pixels.shape
    covering = _covering(found_height, found_width, height, width)
    if covering[0] * covering[1] > _MOST_PIXELS_AFTER_RESIZE:
        raise BadImageError(f"{found_height}x{found_width} is too long and thin to crop")
    return _centre(_resize(pixels, *covering, resampling), height, width)


def _covering(found_height: int, found_width: int, height: int, width: int) -> tuple[int, int]:
    """Return the smallest size with the found proportions that covers (height, width)."""
    if found_height * width <= found_width * height:
        return height, found_width * height // found_height
    return found_height * width // found_width, width


def _centre(pixels: Pixels, height: int, width: int) -> Pixels:
    top, left = _corner(pixels.shape[0], pixels.shape[1], height, width)
    return pixels[top : top + height, left : left + width]


def _corner(found_height: int, found_width: int, height: int, width: int) -> tuple[int, int]:
    """Return top and left of the centre."""
    return round((found_height - height) / 2), round((found_width - width) / 2)


def _resize(pixels: Pixels, height: int, width: int, resampling: Image.Resampling) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = [Image.fromarray(plane) for plane in np.ascontiguousarray(pixels.transpose(2, 0, 1))]
    resized = [plane.resize((width, height), resampling) for plane in planes]
    stacked: Pixels = np.stack([np.asarray(plane) for plane in resized], axis=2)
    # Weights of most filters can leave the range; for uint8 Pillow has cut that off already.
    return stacked if stacked.dtype == np.uint8 else stacked.clip(-1, 1)
