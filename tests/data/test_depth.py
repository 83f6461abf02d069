"""Image files of 16 bits a channel: refused with the cure, or read as the user says."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dtrak_stream.data.options import DepthName, ImageOptions
from dtrak_stream.data.pixels import decode
from dtrak_stream.errors import BadImageError

GRAY = np.array([[0, 255, 256, 1000], [40000, 65279, 65280, 65535]], np.uint16)


def encoded(pixels: np.ndarray, kind: str = "png", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def colour_png(values: np.ndarray) -> bytes:
    """Return a PNG of (H, W, 3 or 4) uint16, which Pillow cannot write."""
    height, width, channels = values.shape
    kind = {3: 2, 4: 6}[channels]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, kind, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        PngImagePlugin.putchunk(file, name, content)
    return file.getvalue()


def portable(values: np.ndarray, maxval: int = 65535) -> bytes:
    """Return a PGM (H, W) or PPM (H, W, 3) file."""
    letter = "P5" if values.ndim == 2 else "P6"
    header = f"{letter} {values.shape[1]} {values.shape[0]} {maxval}\n"
    return header.encode() + values.astype(">u2" if maxval > 255 else "u1").tobytes()


def colours(channels: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65536, (3, 5, channels), dtype=np.uint16)


def decoded(content: bytes, depth16: DepthName = "refuse") -> np.ndarray:
    return decode(io.BytesIO(content), ImageOptions(depth16=depth16))


GRAY_FILES = {
    "png": encoded(GRAY),
    "tiff": encoded(GRAY, "tiff"),
    "big-endian tiff": encoded(GRAY.astype(">u2"), "tiff"),
    "pgm": portable(GRAY),
}
every_file = pytest.mark.parametrize("content", GRAY_FILES.values(), ids=GRAY_FILES)


@every_file
def test_sixteen_bits_are_refused_with_every_reading_there_is(content):
    with pytest.raises(BadImageError, match=r"--depth16 high-byte, scale or pillow"):
        decoded(content)


@every_file
def test_gray_is_read_as_the_option_says(content):
    high, pillow = decoded(content, "high-byte"), decoded(content, "pillow")
    scaled = decoded(content, "scale")
    assert high[:, :, 0].tolist() == [[0, 0, 1, 3], [156, 254, 255, 255]]
    assert pillow[:, :, 0].tolist() == [[0, 255, 255, 255], [255, 255, 255, 255]]
    assert [each.dtype.name for each in (high, pillow, scaled)] == ["uint8", "uint8", "float32"]
    np.testing.assert_allclose(scaled[:, :, 0], GRAY / 32767.5 - 1, atol=1e-7)


def test_pillow_reading_is_what_pillow_converts_to():
    for content in (encoded(GRAY), colour_png(colours(3))):
        with Image.open(io.BytesIO(content)) as image:
            rgb = np.asarray(image.convert("RGB"))
        assert np.array_equal(np.broadcast_to(decoded(content, "pillow"), rgb.shape), rgb)


def test_scaling_gives_eight_bit_shades_the_values_they_have_as_bytes():
    shades = np.arange(256, dtype=np.uint16).reshape(16, 16)
    scaled = decoded(encoded(shades * 257), "scale")[:, :, 0]
    np.testing.assert_allclose(scaled, shades / 127.5 - 1, atol=1e-7)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_is_read_by_its_upper_bytes(channels):
    values = colours(channels)
    for reading in ("high-byte", "pillow"):
        assert np.array_equal(decoded(colour_png(values), reading), values >> 8)
    with pytest.raises(BadImageError, match="use --depth16 high-byte"):
        decoded(colour_png(values), "scale")
    with pytest.raises(BadImageError, match="say how to read them"):
        decoded(colour_png(values))


REFUSED = {
    "32-bit": (encoded(np.ones((2, 2), np.int32), "tiff"), "32-bit"),
    "float": (encoded(np.ones((2, 2), np.float32), "tiff"), "floating-point"),
    "signed": (encoded(GRAY, "tiff", tiffinfo={339: 2}), "signed 16-bit"),
    "ppm": (portable(colours(3)), "16-bit colour of a PPM file"),
    "transparent gray": (encoded(GRAY, transparency=1000), "transparent colour"),
}


@pytest.mark.parametrize("reading", ["high-byte", "scale", "pillow"])
@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_no_reading_is_right_for_is_refused(content, reason, reading):
    with pytest.raises(BadImageError, match=reason):
        decoded(content, reading)


def test_portable_files_of_ten_bits_are_scaled_and_of_eight_are_as_they_are():
    values = np.array([[0, 512, 1023]], np.uint16)
    scaled = decoded(portable(values, 1023), "scale")[0, :, 0]
    np.testing.assert_allclose(scaled, values[0] / 511.5 - 1, atol=1e-4)
    rgb = (colours(3) >> 8).astype(np.uint8)
    assert np.array_equal(decoded(portable(rgb, 255)), rgb)


def test_eight_bits_are_read_alike_whatever_the_option_says():
    pixels = (colours(3) >> 8).astype(np.uint8)
    for reading in ("high-byte", "scale", "pillow"):
        assert np.array_equal(decoded(encoded(pixels), reading), pixels)
