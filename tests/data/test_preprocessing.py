"""Images prepared as the scripts did that a model was trained with, against Pillow by hand."""

import dataclasses
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from dtrak_stream.data.fitting import fit
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions, ImageShape, with_effect
from dtrak_stream.errors import ConfigurationError

SCRIPT = ImageOptions(
    image_fit="crop", channels="convert", alpha="drop", resample="bilinear", exif="ignore"
)
FOLDER = "f88ddd2c699cf084298170d78219a99d"
"""Identity by code that has no such options."""


def rgba(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)


def as_a_script_does_it(path, size: int, resample: Image.Resampling) -> torch.Tensor:
    """Return convert("RGB"), Resize, CenterCrop, ToTensor and Normalize(0.5, 0.5) of an image."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    short, long = sorted(image.size)
    longer = size * long // short
    wide = image.width > image.height
    image = image.resize((longer, size) if wide else (size, longer), resample)
    left, top = ((side - size) / 2 for side in image.size)
    image = image.crop((round(left), round(top), round(left) + size, round(top) + size))
    values = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
    return (values - 0.5) / 0.5


@pytest.mark.parametrize("size", [(9, 14), (14, 9), (13, 13), (8, 31)])
@pytest.mark.parametrize("resample", ["bilinear", "lanczos", "bicubic"])
def test_an_image_is_what_a_training_script_makes_of_it(tmp_path, size, resample):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgba(*size)).save(tmp_path / "a.png", exif=exif)
    options = dataclasses.replace(SCRIPT, resample=resample)
    ours = open_images(str(tmp_path), ImageShape(3, 6, 6), options, visible=False).image(0)
    by_hand = as_a_script_does_it(tmp_path / "a.png", 6, Image.Resampling[resample.upper()])
    torch.testing.assert_close(ours, by_hand, atol=1e-6, rtol=0)


def test_images_of_a_data_set_are_read_by_the_same_options(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.fromarray(rgba(9, 14)).save(path, exif=exif)
    cell = {"bytes": path.read_bytes(), "path": None}
    rows = datasets.Dataset.from_dict({"image": [cell]}).cast_column("image", datasets.Image())
    rows.to_parquet(tmp_path / "a.parquet")
    wanted = ImageShape(3, 6, 6)
    ours = open_images(f"{tmp_path}/a.parquet", wanted, SCRIPT, visible=False).image(0)
    by_hand = as_a_script_does_it(path, 6, Image.Resampling.BILINEAR)
    torch.testing.assert_close(ours, by_hand, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        ("white", [[200, 100, 0], [255, 255, 255], [204, 204, 204]]),
        ("black", [[200, 100, 0], [0, 0, 0], [10, 20, 0]]),
        ("drop", [[200, 100, 0], [200, 100, 0], [50, 100, 0]]),
    ],
)
def test_transparency_goes_where_the_option_says(dtype, alpha, expected):
    pixels = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [50, 100, 0, 51]]], np.uint8)
    if alpha == "white":
        pixels[0, 2, :3] = 0
    given = pixels if dtype == np.uint8 else (pixels / 127.5 - 1).astype(np.float32)
    result = fit(given, ImageShape(3, 1, 3), ImageOptions(channels="convert", alpha=alpha))
    assert result.dtype == dtype
    shown = result if dtype == np.uint8 else (result + 1) * 127.5
    np.testing.assert_allclose(shown[0], expected, atol=0 if dtype == np.uint8 else 1e-4)


def test_hidden_colours_of_a_palette_come_out_as_pillow_shows_them(tmp_path):
    image = Image.fromarray(rgba(6, 6)[:, :, :3]).quantize(16)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 0, 7]))
    options = ImageOptions(channels="convert", alpha="drop")
    shown = open_images(str(tmp_path), ImageShape(3, 6, 6), options, visible=False).image(0)
    expected = np.asarray(image.convert("RGB")) / 127.5 - 1
    np.testing.assert_allclose(shown.permute(1, 2, 0), expected, atol=1e-6)


def test_gray_is_made_of_what_is_left_when_transparency_is_gone():
    pixels = rgba(4, 5)
    gray = fit(pixels, ImageShape(1, 4, 5), ImageOptions(channels="convert", alpha="black"))
    on_black = fit(pixels, ImageShape(3, 4, 5), ImageOptions(channels="convert", alpha="black"))
    expected = np.asarray(Image.fromarray(on_black).convert("L"))
    assert np.array_equal(gray[:, :, 0], expected)


@pytest.mark.parametrize("resample", ["bilinear", "lanczos"])
@pytest.mark.parametrize("how", ["crop", "stretch"])
def test_height_and_width_are_resampled_each_to_its_own(how, resample):
    pixels = rgba(10, 24)[:, :, :3]
    options = ImageOptions(image_fit=how, resample=resample)
    result = fit(pixels, ImageShape(3, 8, 12), options)
    width = 12 if how == "stretch" else 24 * 8 // 10
    image = Image.fromarray(pixels).resize((width, 8), Image.Resampling[resample.upper()])
    left = round((width - 12) / 2)
    assert np.array_equal(result, np.asarray(image)[:, left : left + 12])


def test_floats_stay_in_range_whatever_the_filter():
    pixels = np.random.default_rng(0).choice([-1.0, 1.0], (20, 20, 1)).astype(np.float32)
    result = fit(pixels, ImageShape(1, 7, 7), ImageOptions(image_fit="stretch", resample="lanczos"))
    assert np.abs(result).max() <= 1


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"alpha": "black"}, "--channels convert"),
        ({"alpha": "drop", "image_fit": "crop"}, "--channels convert"),
        ({"resample": "bilinear"}, "--image-fit crop"),
        ({"resample": "lanczos", "center_crop": 3}, "--image-fit crop"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options, remedy):
    with pytest.raises(ConfigurationError, match=remedy):
        ImageOptions(**options)


def test_identity_tells_every_way_of_preparing_images_apart(tmp_path):
    Image.fromarray(rgba(6, 6)).save(tmp_path / "a.png")
    usual = ImageOptions(image_fit="stretch", channels="convert")
    changes: list[dict[str, Any]] = [
        {},
        *({"alpha": name} for name in ("black", "drop")),
        *({"resample": name} for name in ("bilinear", "lanczos")),
        {"exif": "ignore"},
        *({"depth16": name} for name in ("high-byte", "scale", "pillow")),
    ]
    shape = ImageShape(3, 4, 4)
    identities = {
        open_images(
            str(tmp_path), shape, dataclasses.replace(usual, **change), visible=False
        ).identity()
        for change in changes
    }
    assert len(identities) == len(changes)


def test_options_that_change_nothing_are_no_part_of_what_was_recorded_without_them():
    recorded = {
        "image_fit": "exact",
        "center_crop": None,
        "channels": "exact",
        "image_column": None,
        "split": "train",
    }
    assert with_effect(dataclasses.asdict(ImageOptions())) == recorded
    flags = {"alpha": "white", "float-range": "signed", "depth16": "scale", "alphas": "white"}
    assert with_effect(flags) == {"depth16": "scale", "alphas": "white", "split": "train"}


def test_identity_of_a_folder_is_what_it_was_without_the_options(tmp_path):
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "a.bmp")
    assert open_images(str(tmp_path), visible=False).identity() == FOLDER
