"""What becomes of the bytes of image files, good and bad."""

import io

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.pixels import decode
from dtrak_stream.errors import BadImageError


def encoded(image: Image.Image, kind: str = "png", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return decode(io.BytesIO(content))


def test_a_pointer_of_git_lfs_is_called_one():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    with pytest.raises(BadImageError, match=r"a pointer of Git LFS .*git lfs pull"):
        decoded(pointer)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_pixels_come_back_exactly(channels):
    pixels = noise(5, 7, channels)
    image = Image.fromarray(pixels.squeeze())
    np.testing.assert_array_equal(decoded(encoded(image)), pixels)


def test_one_bit_becomes_black_and_white():
    bits = noise(5, 7) > 127
    pixels = decoded(encoded(Image.fromarray(bits)))
    np.testing.assert_array_equal(pixels[:, :, 0], bits * np.uint8(255))


def test_palette_becomes_rgb():
    image = Image.fromarray(noise(4, 4, 3)).quantize(16)
    np.testing.assert_array_equal(decoded(encoded(image)), np.asarray(image.convert("RGB")))


def test_palette_with_transparency_becomes_rgba():
    image = Image.fromarray(noise(4, 4, 3)).quantize(16)
    pixels = decoded(encoded(image, transparency=bytes([0, 128])))
    assert pixels.shape == (4, 4, 4)
    assert set(np.unique(pixels[:, :, 3])) == {0, 128, 255}


def test_transparent_colour_of_an_rgb_png_becomes_alpha():
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = (1, 2, 3)
    alpha = decoded(encoded(Image.fromarray(pixels), transparency=(1, 2, 3)))[:, :, 3]
    assert alpha.tolist() == [[0, 255], [255, 255]]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colour_spaces_become_rgb(mode):
    image = Image.new("RGB", (8, 8), (200, 100, 50)).convert(mode)
    pixels = decoded(encoded(image, "tiff"))
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 2


def test_cmyk_without_black_is_the_complement():
    inks = noise(4, 6, 4)
    inks[:, :, 3] = 0
    content = encoded(Image.fromarray(inks, "CMYK"), "tiff")
    np.testing.assert_array_equal(decoded(content), 255 - inks[:, :, :3])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(Image.fromarray(noise(4, 4).astype(np.int32)), "tiff"), "32-bit"),
        (encoded(Image.fromarray(noise(4, 4).astype(np.float32)), "tiff"), "floating-point"),
        (b"", "empty"),
        (b"not an image", "not an image"),
        (encoded(Image.fromarray(noise(64, 64, 3)))[:2000], "cannot be decoded"),
        (encoded(Image.fromarray(noise(64, 64, 3)), "jpeg")[:2000], "truncated"),
    ],
    ids=["32-bit", "float", "empty", "text", "cut-png", "cut-jpeg"],
)
def test_bad_image_is_refused_with_its_reason(content, reason):
    with pytest.raises(BadImageError, match=reason):
        decoded(content)


def test_flipped_byte_in_a_png_never_gives_other_pixels():
    pixels = noise(16, 16, 3)
    content = bytearray(encoded(Image.fromarray(pixels)))
    refused = 0
    for position in range(0, len(content), 7):
        content[position] ^= 16
        try:
            np.testing.assert_array_equal(decoded(bytes(content)), pixels)
        except BadImageError:
            refused += 1
        content[position] ^= 16
    assert refused > 50


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [20, 30, 63])
def test_decompression_bomb_is_refused(monkeypatch, limit):
    content = encoded(Image.fromarray(noise(8, 8, 3)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(BadImageError, match="decompression bomb"):
        decoded(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64)
    assert decoded(content).shape == (8, 8, 3)


def test_decompression_bomb_warning_made_an_error_is_refused(monkeypatch):
    content = encoded(Image.fromarray(noise(8, 8, 3)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(BadImageError, match="decompression bomb"):
        decoded(content)
