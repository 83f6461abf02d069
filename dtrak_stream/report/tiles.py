"""Pictures of samples, exactly as the model saw them, at the size a page needs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dtrak_stream.data.images import Images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import BadImageError, FingerprintMismatchError, InputError

_CACHED_TILES = 512
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Tile:
    """One sample's picture, or why there is none."""

    sample_id: str
    """The sample's id."""
    picture: Image.Image | None
    """Its pixels, scaled down if large."""
    reason: str = ""
    """Why it has no picture."""

    @cached_property
    def uri(self) -> str:
        """The picture as a data URI of a PNG."""
        if self.picture is None:
            return ""
        return f"data:image/png;base64,{base64.b64encode(encode_png(self.picture)).decode()}"


class Gallery:
    """The images of one source as tiles, each checked to be the sample that was scored.

    Parameters
    ----------
    images
        The opened source.
    scored_id
        Gives the sample id that the scores file has at an index.
    role
        What the images are, for messages: `training` or `query`.
    longest
        Longest side of a tile's picture, in pixels.
    """

    def __init__(
        self,
        images: Images,
        scored_id: Callable[[int], str],
        *,
        role: str,
        longest: int,
    ) -> None:
        self._images = images
        self._scored_id = scored_id
        self._role = role
        self._longest = longest
        self._cached = lru_cache(_CACHED_TILES)(self._load)

    def tile(self, index: int) -> Tile:
        """Return the tile of sample `index`.

        Raises
        ------
        FingerprintMismatchError
            If the source has another sample there than the scores file, or none.
        """
        return self._cached(index)

    def reaches_outside(self) -> bool:
        """Return whether images that were shown lie elsewhere than in the source's own files."""
        return self._images.reaches_outside()

    def _load(self, index: int) -> Tile:
        sample_id = self._scored_id(index)
        self._require_same(index, sample_id)
        try:
            picture = to_picture(self._images.image(index))
        except BadImageError as error:
            return Tile(sample_id, None, error.reason)
        return Tile(sample_id, shrink(picture, self._longest))

    def _require_same(self, index: int, scored: str) -> None:
        count = len(self._images)
        found = self._images.sample_id(index) if index < count else f"nothing (it has {count})"
        if found != scored:
            raise FingerprintMismatchError(
                f"the {self._role} image at index {index}",
                scored,
                found,
                where=self._images.spec,
                remedy=f"give the {self._role} source, order and limit that were featurized",
            )


def can_be_shown(shape: ImageShape) -> bool:
    """Return whether images of this shape are pictures: grayscale or RGB."""
    return shape.channels in _MODES


def parse_shape(text: str) -> ImageShape:
    """Read an image shape such as `3x32x32`.

    Raises
    ------
    InputError
        If it is not channels x height x width, with 1 or 3 channels.
    """
    try:
        channels, height, width = (int(part) for part in text.split("x"))
    except ValueError:
        channels = height = width = 0
    if channels not in _MODES or min(height, width) < 1:
        raise InputError(
            f"image_shape {text!r} cannot be shown",
            where="the scores file",
            remedy="a report shows grayscale (1x) and RGB (3x) images; read the scores themselves, "
            "or write them as a table with dtrak-stream export",
        )
    return ImageShape(channels, height, width)


def to_picture(image: torch.Tensor) -> Image.Image:
    """Turn an image (C, H, W) in [-1, 1] into 8-bit grayscale (C = 1) or RGB (C = 3)."""
    levels = ((image.to(torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    # (C, H, W) -> (H, W, C)
    pixels = levels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def shrink(picture: Image.Image, longest: int) -> Image.Image:
    """Scale a picture down (Lanczos) until no side is longer than `longest` pixels."""
    if max(picture.size) <= longest:
        return picture
    factor = longest / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def enlarge(picture: Image.Image, side: int) -> Image.Image:
    """Repeat pixels a whole number of times, as often as fits a square of `side` pixels."""
    factor = side // max(picture.size)
    if factor < 2:
        return shrink(picture, side)
    width, height = picture.size
    return picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)


def encode_png(picture: Image.Image, software: str = "") -> bytes:
    """Return the picture as the bytes of a PNG file, which may name what `software` drew it."""
    buffer, texts = io.BytesIO(), PngInfo()
    if software:
        texts.add_text("Software", software)
    picture.save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()
