"""From the bytes of an image file to its pixels.

This is the one place where Pillow decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from dtrak_stream.data.depth import deep_pixels, is_deep
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.remarks import Remark
from dtrak_stream.data.source import A_POINTER, FETCH_LFS, LFS_POINTER, Pixels, brief
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
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; 1 is upright."""
_ONE_PICTURE = {"MPO"}  # what follows the first is a preview, or another view, of the same picture

Notice = Callable[[Remark], None]


def decode(
    file: IO[bytes],
    options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    notice: Notice = lambda _: None,
) -> Pixels:
    """Decode one image file.

    Parameters
    ----------
    file
        The encoded image, open for reading and seekable. It is left open.
    options
        What becomes of EXIF rotation and of 16-bit pixels.
    notice
        Told of what the file has and the pixels do not show.

    Returns
    -------
    numpy.ndarray
        (height, width, channels) uint8, or float32 in [-1, 1] for scaled 16-bit pixels; 1 channel
        is grayscale, 2 grayscale with alpha, 3 RGB, 4 RGB with alpha. Of several frames it is the
        first.

    Raises
    ------
    BadImageError
        If the file is empty, truncated, corrupt, not an image, unreasonably large, or has
        pixels of more than 8 bits that `options` do not say how to read.
    OSError
        If the system would not read the file.
    """
    try:
        return _decode(file, options, notice)
    except (BadImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImageError(_why_unidentified(file)) from error
    except OSError as error:
        if error.errno is not None:  # the system's word, not a decoder's
            raise
        raise BadImageError(f"cannot be decoded ({brief(error)})") from error
    except Exception as error:  # decoders meet corrupt bytes with exceptions of every kind
        raise BadImageError(f"cannot be decoded ({brief(error)})") from error


def _decode(file: IO[bytes], options: ImageOptions, notice: Notice) -> Pixels:
    with Image.open(file) as image:
        _require_reasonable_size(image)
        deep = is_deep(image, options.depth16)
        image.load()
        upright = _upright(image, notice) if options.exif == "apply" else image
        if deep:
            pixels = deep_pixels(upright, options.depth16)
        else:
            pixels = np.asarray(_plain(upright), dtype=np.uint8)
        if _has_several_frames(image):
            notice("frames")
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _upright(image: Image.Image, notice: Notice) -> Image.Image:
    """Turn a loaded image as its EXIF, or XMP, tells; leave it where that cannot be read."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken metadata is met with exceptions of every kind as well
        notice("orientation")
        return image
    return image if turn is None else image.transpose(turn)


def _has_several_frames(image: Image.Image) -> bool:
    """Return whether a loaded image is the first of several frames or pages."""
    if image.format in _ONE_PICTURE:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame is damaged, and not asked for
        return False


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


def _why_unidentified(file: IO[bytes]) -> str:
    file.seek(0)
    beginning = file.read(len(LFS_POINTER))
    if beginning == LFS_POINTER:
        return f"the file is {A_POINTER}; fetch it with {FETCH_LFS}"
    return "not an image that Pillow can read" if beginning else "the file is empty (0 bytes)"
