"""Bringing pixels to the model's shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dtrak_stream.data.fitting import cures, fit, native_shape, origin_of, shape_of
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.errors import BadImageError, ConfigurationError

sides = st.integers(1, 40)


def noise(*shape: int, floating: bool = False) -> np.ndarray:
    generator = np.random.default_rng(2)
    if floating:
        return generator.choice([-1.0, 1.0], shape).astype(np.float32)
    return generator.integers(0, 256, shape, dtype=np.uint8)


@given(
    found=st.tuples(sides, sides, st.integers(1, 4)),
    wanted=st.builds(ImageShape, st.sampled_from([1, 3]), sides, sides),
    how=st.sampled_from(["crop", "stretch"]),
    floating=st.booleans(),
)
def test_fit_gives_the_shape_asked_for_and_stays_in_range(found, wanted, how, floating):
    pixels = noise(*found, floating=floating)
    result = fit(pixels, wanted, ImageOptions(image_fit=how, channels="convert"))
    assert shape_of(result) == wanted
    assert result.dtype == pixels.dtype
    if floating:
        assert np.abs(result).max() <= 1


@given(height=sides, width=sides, channels=st.integers(1, 5))
def test_native_shape_needs_nothing_done(height, width, channels):
    found = ImageShape(channels, height, width)
    assert native_shape(found, ImageOptions()) == found
    np.testing.assert_array_equal(
        fit(noise(height, width, channels), found, ImageOptions()),
        noise(height, width, channels),
    )


@pytest.mark.parametrize(
    ("found", "options", "origin"),
    [
        # short side to 16, the other cut down, then int(round((side - 16) / 2.0)) as scripts do
        ((30, 20), {"image_fit": "crop"}, (30, 20, 4, 0)),
        ((40, 61), {"image_fit": "crop"}, (40, 61, 0, 4)),
        ((21, 16), {"image_fit": "crop"}, (21, 16, 2, 0)),
        ((12, 8), {"image_fit": "crop"}, (12, 8, 4, 0)),
        ((16, 16), {"image_fit": "crop"}, (16, 16, 0, 0)),
        ((30, 20), {"image_fit": "stretch"}, (30, 20, 0, 0)),
        ((16, 16), {}, (16, 16, 0, 0)),
        ((30, 20), {"image_fit": "crop", "center_crop": 18}, (18, 18, 0, 0)),
    ],
)
def test_an_image_was_what_scripts_note_of_it(found, options, origin):
    wanted, options = ImageShape(3, 16, 16), ImageOptions(**options)
    assert origin_of(ImageShape(3, *found), wanted, options) == origin
    if options.image_fit == "crop" and not options.center_crop:
        top, left = origin[2:]
        pixels = Image.fromarray(noise(*found, 3))
        scale = 16 / min(found)
        size = int(found[1] * scale + 1e-9), int(found[0] * scale + 1e-9)
        resized = np.asarray(pixels.resize(size, Image.Resampling.BICUBIC))
        expected = resized[top : top + 16, left : left + 16]
        np.testing.assert_array_equal(fit(np.asarray(pixels), wanted, options), expected)


def test_stretch_is_pillow_bicubic():
    pixels = noise(20, 30, 3)
    result = fit(pixels, ImageShape(3, 8, 9), ImageOptions(image_fit="stretch"))
    expected = Image.fromarray(pixels).resize((9, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(result, np.asarray(expected))


def test_crop_resizes_the_shorter_side_and_cuts_the_centre():
    pixels = noise(20, 31, 3)
    result = fit(pixels, ImageShape(3, 10, 10), ImageOptions(image_fit="crop"))
    covering = Image.fromarray(pixels).resize((15, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(result, np.asarray(covering)[:, 2:12])


def test_centre_crop_comes_before_fitting():
    pixels = noise(218, 178, 3)
    options = ImageOptions(image_fit="crop", center_crop=140)
    result = fit(pixels, ImageShape(3, 64, 64), options)
    square = Image.fromarray(pixels[39:179, 19:159])
    np.testing.assert_array_equal(result, np.asarray(square.resize((64, 64), 3)))


@pytest.mark.parametrize(
    ("side", "cut", "first"), [(5, 2, 2), (7, 2, 2), (5, 4, 0), (7, 4, 2), (6, 2, 2), (9, 4, 2)]
)
def test_a_centre_that_falls_between_two_pixels_is_rounded_to_the_even_one(side, cut, first):
    pixels = noise(side, side, 1)
    options = ImageOptions(image_fit="crop", center_crop=cut)
    result = fit(pixels, ImageShape(1, cut, cut), options)
    np.testing.assert_array_equal(result, pixels[first : first + cut, first : first + cut])


def test_height_and_width_are_fitted_each_by_itself():
    pixels = noise(5, 12, 1)
    result = fit(pixels, ImageShape(1, 2, 4), ImageOptions(image_fit="crop"))
    covering = Image.fromarray(pixels[:, :, 0]).resize((4, 2), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(result[:, :, 0], np.asarray(covering))


def test_float_and_uint8_images_are_resized_alike():
    pixels = noise(24, 24, 1)
    options = ImageOptions(image_fit="stretch")
    from_bytes = fit(pixels, ImageShape(1, 8, 8), options) / 127.5 - 1
    from_floats = fit((pixels / 127.5 - 1).astype(np.float32), ImageShape(1, 8, 8), options)
    np.testing.assert_allclose(from_floats, from_bytes, atol=1 / 127.5)


def test_rgb_becomes_gray_as_pillow_does_it():
    pixels = noise(16, 16, 3)
    gray = fit(pixels, ImageShape(1, 16, 16), ImageOptions(channels="convert"))
    np.testing.assert_array_equal(gray[:, :, 0], np.asarray(Image.fromarray(pixels).convert("L")))


def test_gray_becomes_three_equal_channels():
    pixels = noise(4, 4, 1)
    rgb = fit(pixels, ImageShape(3, 4, 4), ImageOptions(channels="convert"))
    np.testing.assert_array_equal(rgb, np.concatenate([pixels] * 3, axis=2))


def test_transparency_is_laid_on_white():
    pixels = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [0, 0, 0, 51]]], np.uint8)
    rgb = fit(pixels, ImageShape(3, 1, 3), ImageOptions(channels="convert"))
    assert rgb.tolist() == [[[200, 100, 0], [255, 255, 255], [204, 204, 204]]]


def test_transparency_of_floats_is_laid_on_white():
    pixels = np.array([[[0.5, 1.0], [0.5, -1.0], [-1.0, 0.0]]], np.float32)
    gray = fit(pixels, ImageShape(1, 1, 3), ImageOptions(channels="convert"))
    assert gray.tolist() == [[[0.5], [1.0], [0.0]]]


@pytest.mark.parametrize(
    ("found", "options", "cure"),
    [
        (ImageShape(3, 8, 8), ImageOptions(), "--channels convert"),
        (ImageShape(1, 9, 8), ImageOptions(), "--image-fit crop"),
        (ImageShape(4, 8, 8), ImageOptions(), "--channels convert"),
        (ImageShape(5, 8, 8), ImageOptions(channels="convert"), "images with 1 channels"),
        (ImageShape(1, 8, 8), ImageOptions(center_crop=9), "--center-crop of at most 8"),
        (ImageShape(1, 8, 8), ImageOptions(center_crop=4), "--image-fit crop"),
    ],
)
def test_image_that_does_not_fit_is_refused_with_the_cure(found, options, cure):
    wanted = ImageShape(1, 8, 8)
    pixels = noise(found.height, found.width, found.channels)
    with pytest.raises(BadImageError, match=cure):
        fit(pixels, wanted, options)
    assert any(cure in one for one in cures(found, wanted, options))


def test_both_cures_are_named_at_once():
    assert len(cures(ImageShape(3, 9, 9), ImageShape(1, 8, 8), ImageOptions())) == 2


def test_endless_strip_is_not_enlarged_until_memory_runs_out():
    with pytest.raises(BadImageError, match="too long and thin"):
        fit(noise(1, 5000, 1), ImageShape(1, 256, 256), ImageOptions(image_fit="crop"))


def test_crop_agrees_with_pillow_where_the_sides_divide():
    pixels = noise(32, 64, 3)
    result = fit(pixels, ImageShape(3, 16, 16), ImageOptions(image_fit="crop"))
    expected = ImageOps.fit(Image.fromarray(pixels), (16, 16), Image.Resampling.BICUBIC)
    inside = np.s_[:, 2:-2]  # ImageOps cuts first, so the edges see other neighbours
    np.testing.assert_allclose(result[inside], np.asarray(expected)[inside], atol=1)


def test_centre_crop_of_no_pixels_is_refused():
    with pytest.raises(ConfigurationError, match="--center-crop"):
        ImageOptions(center_crop=0)
