"""What floats mean as pixels: signed, in [0, 1], or not to be told apart."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dtrak_stream.data import arrays
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions, RangeName
from dtrak_stream.errors import BadImageError, InputError

# of code that has no such option
BYTES = "d133e11df0848541bcb8095638943142"
FLOATS = "fc12e79e114eacbb195bc4808fcb5313"


def bytes_of(count: int = 6) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)


def saved(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def opened(path: object, float_range: RangeName = "auto") -> Images:
    return open_images(str(path), options=ImageOptions(float_range=float_range), visible=False)


def all_of(images: Images) -> torch.Tensor:
    return torch.stack([images.image(row) for row in range(len(images))])


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_floats_without_a_negative_one_are_refused_with_both_readings(tmp_path, kind):
    path, values = tmp_path / f"a.{kind}", (bytes_of() / 255).astype("float32")
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz":
        np.savez(path, images=values)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = values
    with pytest.raises(InputError, match=r"in \[0, 1\] as well as in \[-1, 1\].*unit.*signed"):
        opened(path)
    as_bytes = torch.from_numpy(bytes_of()).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(all_of(opened(path, "unit")), as_bytes, atol=3e-7, rtol=0)
    as_they_are = torch.from_numpy(values).permute(0, 3, 1, 2)
    assert torch.equal(all_of(opened(path, "signed")), as_they_are)


@pytest.mark.parametrize("negative_row", [0, 3, 5])
def test_a_negative_number_anywhere_in_the_array_tells_what_a_part_of_it_means(
    tmp_path, monkeypatch, negative_row
):
    monkeypatch.setattr(arrays, "_SCAN_BLOCK_BYTES", 600)
    values = (bytes_of() / 255).astype("float32")
    values[negative_row, 0, 0, 0] = -0.5
    path = saved(tmp_path / "a.npy", values)
    assert torch.equal(
        all_of(opened(f"{path}[2:4]")), torch.from_numpy(values[2:4]).permute(0, 3, 1, 2)
    )


def test_what_rounding_puts_below_zero_is_no_negative_number(tmp_path):
    values = (bytes_of() / 255).astype("float32")
    values[0, 0, 0, 0] = -1e-7
    path = saved(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match="none of its floats is negative"):
        opened(path)
    assert opened(path, "unit").image(0).min() == -1


def test_images_of_nan_alone_are_bad_images_not_an_open_question(tmp_path):
    path = saved(tmp_path / "a.npy", np.full((3, 4, 6), np.nan, "float32"))
    with pytest.raises(InputError, match=r"none of its 3 images can be used.*NaN"):
        opened(path)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_what_rounding_puts_outside_is_cut_off(tmp_path, dtype):
    values = (bytes_of() / 127.5 - 1).astype(dtype)
    values[0, 0, 0] = [np.nextafter(np.float32(1), np.float32(2)), -1 - 3e-7, 0.5]
    image = opened(saved(tmp_path / "a.npy", values)).image(0)
    assert image[:, 0, 0].tolist() == [1, -1, 0.5]


def test_half_precision_rounds_more_coarsely(tmp_path):
    values = (bytes_of() / 127.5 - 1).astype("float16")
    values[0, 0, 0, 0] = np.float16(1.001)
    assert opened(saved(tmp_path / "a.npy", values)).image(0).max() == 1
    values[0, 0, 0, 0] = np.float16(1.01)
    with pytest.raises(InputError, match=r"holds 1\.01, outside"):
        opened(saved(tmp_path / "b.npy", values))


@pytest.mark.parametrize(
    ("number", "float_range", "told"),
    [
        (1.000002, "auto", r"image 4 holds 1.000002, outside [-1, 1]"),
        (-1.000002, "signed", r"image 4 holds -1.000002, outside [-1, 1]"),
        (-0.000002, "unit", r"image 4 holds -2e-06, outside [0, 1]; use --float-range signed"),
        (255, "unit", r"image 4 holds 255.0, outside [0, 1]"),
    ],
)
def test_a_number_out_of_range_is_told_with_the_digits_that_put_it_there(
    tmp_path, number, float_range, told
):
    values = (bytes_of() / 255).astype("float32")
    values[4, 1, 1, 1] = number
    with pytest.raises(InputError, match=re.escape(told)):
        opened(saved(tmp_path / "a.npy", values), float_range)


def test_a_row_that_changed_since_it_was_checked_is_a_bad_image(tmp_path):
    values = (bytes_of() / 127.5 - 1).astype("float32")
    images = opened(saved(tmp_path / "a.npy", values))
    np.load(tmp_path / "a.npy", mmap_mode="r+")[2] = 3
    with pytest.raises(BadImageError, match=r"outside \[-1, 1\]"):
        images.image(2)


def test_identity_tells_readings_apart_that_give_other_images(tmp_path):
    path = saved(tmp_path / "a.npy", (bytes_of() / 127.5 - 1).astype("float32").clip(0, 1))
    assert opened(path, "unit").identity() != opened(path, "signed").identity()
    signed = saved(tmp_path / "b.npy", (bytes_of() / 127.5 - 1).astype("float32"))
    assert opened(signed).identity() == opened(signed, "signed").identity()


def test_the_range_of_floats_means_nothing_to_bytes_and_digits(tmp_path):
    path = saved(tmp_path / "a.npy", bytes_of())
    assert torch.equal(all_of(opened(path, "unit")), all_of(opened(path)))
    assert opened(path, "unit").identity() == opened(path).identity()
    digits = opened("sklearn:digits[:3]", "unit")
    assert digits.identity() == opened("sklearn:digits[:3]").identity()


def test_identities_of_bytes_and_signed_floats_are_what_they_were_without_the_option(tmp_path):
    values = np.arange(96, dtype=np.uint8).reshape(2, 6, 8)
    as_bytes, as_floats = (
        saved(tmp_path / "a.npy", values),
        saved(tmp_path / "b.npy", (values / 127.5 - 1).astype("<f4")),
    )
    assert opened(as_bytes).identity() == BYTES
    assert opened(as_floats).identity() == FLOATS
