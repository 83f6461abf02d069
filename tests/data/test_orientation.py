"""How images lie: EXIF that is applied, ignored, or broken."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.pixels import decode

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
ORIENTATION = 0x0112
# a TIFF header, one entry and no next directory; the entry says where its value lies
LITTLE = b"Exif\0\0II*\0\x08\0\0\0"
BROKEN_EXIF = {
    "cut": LITTLE[:-4],
    "no tiff": b"Exif\0\0garbage that is no tiff",
    "endless": LITTLE + b"\xff\xff" + b"\x12\x01\x03\0" * 4,
    "empty": b"Exif\0\0",
}


def encoded(kind: str = "png", **options) -> bytes:
    file = io.BytesIO()
    if kind == "webp":
        options["lossless"] = True
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def oriented(number: object, kind: str = "png") -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return encoded(kind, exif=exif)


def decoded(content: bytes, **options: Any) -> tuple[np.ndarray, list[str]]:
    noticed: list[str] = []
    return decode(io.BytesIO(content), ImageOptions(**options), noticed.append), noticed


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_every_orientation_is_applied_as_pillow_does_it(number, kind):
    content = oriented(number, kind)
    with Image.open(io.BytesIO(content)) as image:
        lying, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(decoded(content)[0], upright)
    assert np.array_equal(decoded(content, exif="ignore")[0], lying)
    assert np.array_equal(lying, PIXELS)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_tiff_file_is_turned_by_pillow_itself(number):
    content = oriented(number, "tiff")
    with Image.open(io.BytesIO(content)) as image:
        loaded = np.asarray(image)
    assert np.array_equal(decoded(content)[0], loaded)
    assert np.array_equal(decoded(content, exif="ignore")[0], loaded)
    assert np.array_equal(loaded, PIXELS) == (number == 1)


def test_a_quarter_turn_is_a_quarter_turn():
    assert np.array_equal(decoded(oriented(6))[0], np.rot90(PIXELS, -1))


@pytest.mark.parametrize("number", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_upright(number):
    pixels, noticed = decoded(oriented(number))
    assert np.array_equal(pixels, PIXELS)
    assert noticed == []


@pytest.mark.parametrize("content", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_broken_exif_does_not_cost_the_image(content, kind):
    pixels, _ = decoded(encoded(kind, exif=content))
    assert np.array_equal(pixels, PIXELS)


def test_exif_that_cannot_be_read_is_noticed(monkeypatch):
    def broken(_self):
        raise TypeError("cannot use a string pattern on a bytes-like object")

    monkeypatch.setattr(Image.Image, "getexif", broken)
    pixels, noticed = decoded(oriented(6))
    assert np.array_equal(pixels, PIXELS)
    assert noticed == ["orientation"]
    assert decoded(oriented(6), exif="ignore")[1] == []


def test_broken_xmp_does_not_cost_the_image():
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[700] = b"<x:xmpmeta tiff:Orientation=\xff\xfe"
    info.tagtype[700] = 1
    pixels, _ = decoded(encoded("tiff", tiffinfo=info))
    assert np.array_equal(pixels, PIXELS)
