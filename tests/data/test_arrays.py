"""Arrays in npy, npz and HDF5 files as a source."""

import errno
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dtrak_stream.data import array_files, arrays
from dtrak_stream.data.images import open_images
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.places import SourceRequest, locate
from dtrak_stream.errors import BadImageError, DiskFullError, InputError


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, shape)


def write_hdf5(path: Path, **members: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            file[name] = value
    return path


def opened(path: object):
    return open_images(str(path), visible=False)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_floats_come_through_in_float32(tmp_path, dtype):
    values = floats(5, 4, 6).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    images = opened(tmp_path / "a.npy")
    assert images.shape == ImageShape(1, 4, 6)
    assert images.sample_ids(0, 5) == list("01234")
    for index, value in enumerate(values):
        assert torch.equal(images.image(index), torch.from_numpy(value.astype(np.float32))[None])


def test_every_uint8_value_comes_back_exactly(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.save(tmp_path / "a.npy", values)
    image = opened(tmp_path / "a.npy").image(0)
    assert image.dtype == torch.float32
    assert (image.min(), image.max()) == (-1, 1)
    assert torch.equal(image, torch.arange(256.0).reshape(1, 16, 16) / 127.5 - 1)
    np.testing.assert_array_equal(((image + 1) * 127.5).round().numpy(), values)


def test_column_major_array_is_read_right(tmp_path, pixels):
    np.save(tmp_path / "a.npy", np.asfortranarray(pixels))
    np.save(tmp_path / "b.npy", pixels)
    column_major, row_major = opened(tmp_path / "a.npy"), opened(tmp_path / "b.npy")
    assert all(torch.equal(column_major.image(i), row_major.image(i)) for i in range(12))
    assert column_major.identity() == row_major.identity()


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5"])
def test_float_out_of_range_is_refused_with_its_row(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(arrays, "_SCAN_BLOCK_BYTES", 1000)
    values = floats(20, 4, 6)
    values[3, 0, 0] = np.nan
    values[13, 1, 2] = 1.5
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, values)
    elif suffix == "npz":
        np.savez(path, images=values)
    else:
        write_hdf5(path, images=values)
    with pytest.raises(InputError, match=r"image 13 holds 1\.5, outside \[-1, 1\]"):
        opened(path)
    assert len(opened(f"{path}[:13]")) == 13


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_image_with_nan_or_infinity_is_quarantined(tmp_path, value):
    values = floats(4, 3, 5)
    values[2, 1, 1] = value
    np.save(tmp_path / "a.npy", values)
    images = opened(tmp_path / "a.npy")
    with pytest.raises(BadImageError, match="NaN or infinity"):
        images.image(2)
    assert images.image(3).isfinite().all()


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint16", "complex64", "U1"])
def test_other_types_are_refused(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 5), dtype))
    with pytest.raises(InputError, match="no agreed range"):
        opened(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 4, 0), (5, 4, 4, 3, 1)])
def test_other_numbers_of_axes_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match="is not images"):
        opened(tmp_path / "a.npy")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_one_colour_image_is_not_taken_for_many_narrow_ones(tmp_path, width):
    image = np.random.default_rng(0).integers(0, 256, (5, 6, width), dtype=np.uint8)
    np.save(tmp_path / "a.npy", image)
    told = rf"one image with {width} channels, or 5 images of 6x{width} pixels.*x\[None\]"
    with pytest.raises(InputError, match=told):
        opened(tmp_path / "a.npy")
    np.save(tmp_path / "one.npy", image[None])
    np.save(tmp_path / "many.npy", image[..., None])
    one, many = opened(tmp_path / "one.npy"), opened(tmp_path / "many.npy")
    assert (len(one), one.shape) == (1, ImageShape(width, 5, 6))
    assert (len(many), many.shape) == (5, ImageShape(1, 6, width))


def test_channels_before_rows_are_recognised(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 3, 32, 32), np.uint8))
    with pytest.raises(InputError, match=r"transpose it with \(0, 2, 3, 1\)"):
        opened(tmp_path / "a.npy")


def test_no_rows_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 4, 5), np.uint8))
    with pytest.raises(InputError, match="holds no images"):
        opened(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", ["npz", "h5", "hdf5"])
def test_missing_key_is_refused_with_the_keys_there_are(tmp_path, pixels, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, images=pixels, labels=np.arange(12))
    else:
        write_hdf5(path, images=pixels, labels=np.arange(12))
    with pytest.raises(InputError, match="no array 'nothing'; it has images, labels"):
        opened(f"{path}:nothing")
    with pytest.raises(InputError, match="which array"):
        opened(path)
    assert len(opened(f"{path}:images")) == 12


def test_only_array_needs_no_key(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", images=pixels)
    write_hdf5(tmp_path / "a.h5", **{"group/images": pixels})
    assert len(opened(tmp_path / "a.npz")) == len(opened(tmp_path / "a.h5")) == 12
    assert len(opened(tmp_path / "a.h5:group/images")) == 12


def test_key_of_an_npy_file_is_refused(tmp_path, pixels):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(InputError, match="has no keys"):
        opened(tmp_path / "a.npy:images")


def test_python_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        opened(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5"])
@pytest.mark.parametrize("kept", [0, 3, 1000])
def test_truncated_file_is_refused(tmp_path, pixels, suffix, kept):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, pixels)
    elif suffix == "npz":
        np.savez(path, images=pixels)
    else:
        write_hdf5(path, images=pixels)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="truncated"):
        opened(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_byte_in_an_npz_is_refused(tmp_path, pixels, save):
    path = tmp_path / "a.npz"
    save(path, images=pixels)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="corrupt"):
        opened(path)


def test_stored_and_compressed_members_are_mapped_not_loaded(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", first=pixels[:3], images=pixels)
    np.savez_compressed(tmp_path / "b.npz", first=pixels[:3], images=pixels)
    for name in ("a.npz", "b.npz"):
        place = locate(f"{tmp_path / name}:images")
        source = array_files.open_npz(SourceRequest(place, ImageOptions(), visible=False))
        assert isinstance(source._rows, np.memmap)
        np.testing.assert_array_equal(source._rows, pixels)


def test_npz_member_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello, this is not an array")
    with pytest.raises(InputError, match="not a NumPy array"):
        opened(tmp_path / "a.npz")


def test_no_room_to_unpack_is_said(tmp_path, pixels, monkeypatch):
    class FullFile(io.BytesIO):
        def write(self, _content):
            raise OSError(errno.ENOSPC, "No space left on device")

    np.savez_compressed(tmp_path / "a.npz", images=pixels)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: FullFile())
    with pytest.raises(DiskFullError, match="TMPDIR"):
        opened(tmp_path / "a.npz")


def test_unreadable_chunk_of_an_hdf5_file_is_quarantined(tmp_path, pixels):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        kept = file.create_dataset("images", data=pixels, chunks=(1, 6, 8, 3), fletcher32=True)
        place = kept.id.get_chunk_info_by_coord((5, 0, 0, 0)).byte_offset
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    images = opened(path)
    with pytest.raises(BadImageError, match="cannot be read"):
        images.image(5)
    assert images.image(6).shape == (3, 6, 8)
    assert len(images.identity()) == 32


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
def test_array_file_without_permission_is_refused(as_nobody, name):
    (as_nobody / name).write_bytes(b"")
    (as_nobody / name).chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        opened(as_nobody / name)


def test_digits_are_the_images_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")

    digits = datasets.load_digits()
    images = opened("sklearn:digits")
    assert (len(images), str(images.shape), images.sample_id(1796)) == (1797, "1x8x8", "1796")
    expected = torch.from_numpy((digits.images / 8 - 1).astype(np.float32))
    assert torch.equal(torch.stack([images.image(i) for i in range(1797)])[:, 0], expected)
    written = open_source("sklearn:digits", ImageOptions(), visible=False)
    assert written.columns()["target"].kind == "number"
    assert np.array_equal(written.column("target", 0, 1797), digits.target)


def test_digits_are_read_without_scikit_learn():
    script = """
import sys
sys.modules["sklearn"] = None
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.labels import open_labels
assert open_images("sklearn:digits", visible=False).image(1796).shape == (1, 8, 8)
open_labels("sklearn:digits", "target", ImageOptions(), visible=False)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
