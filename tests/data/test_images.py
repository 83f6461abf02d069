"""Opening any source: what it is taken for, which part of it is meant, and its identity."""

import shutil
import tarfile

import datasets
import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.spec import parse_spec
from dtrak_stream.errors import ConfigurationError, InputError, ModelError


def opened(spec: object, shape: ImageShape | None = None, limit: int | None = None, **options):
    return open_images(str(spec), shape, ImageOptions(**options), limit=limit, visible=False)


def write_everywhere(folder, pixels) -> list[str]:
    """Write the images of `folder` in every other form next to it; return all sources."""
    home = folder.parent
    np.save(home / "a.npy", pixels)
    np.savez(home / "a.npz", images=pixels, labels=np.arange(12))
    np.savez_compressed(home / "b.npz", images=pixels)
    with h5py.File(home / "a.h5", "w") as file:
        file.create_dataset("images", data=pixels, chunks=(4, 6, 8, 3), compression="gzip")
    files = [folder / f"{index}.png" for index in range(12)]
    contents = [{"bytes": file.read_bytes(), "path": None} for file in files]
    rows = datasets.Dataset.from_dict({"image": contents}).cast_column("image", datasets.Image())
    rows.save_to_disk(home / "saved")
    rows.to_parquet(home / "a.parquet")
    with tarfile.open(home / "a.tar", "w") as archive:
        for index, file in enumerate(files):
            archive.add(file, f"{index:02}.png")
    names = ["images", "a.npy", "a.npz:images", "b.npz", "a.h5:images"]
    return [str(home / name) for name in [*names, "saved", "a.parquet", "a.tar"]]


def test_same_pixels_give_equal_tensors_from_every_source(folder, pixels):
    sources = [opened(spec) for spec in write_everywhere(folder, pixels)]
    for images in sources:
        assert (len(images), images.shape) == (12, ImageShape(3, 6, 8))
        for index in range(12):
            assert torch.equal(images.image(index), sources[0].image(index))
            assert images.image(index).is_contiguous()


def test_sources_can_be_sliced_alike(folder, pixels):
    for spec in write_everywhere(folder, pixels):
        whole, part = opened(spec), opened(f"{spec}[3:9]", limit=4)
        assert part.sample_ids(0, 4) == whole.sample_ids(3, 7)
        assert len(part) == 4
        assert torch.equal(part.image(1), whole.image(4))
        assert part.sample_id(1) == whole.sample_id(4)


@pytest.mark.parametrize(
    ("ending", "rows"),
    [("[2:5]", (2, 5)), ("[:5]", (0, 5)), ("[5:]", (5, 12)), ("[:]", (0, 12)), ("[9:99]", (9, 12))],
)
def test_slice_selects_a_range(folder, ending, rows):
    images = opened(f"{folder}{ending}")
    assert images.sample_ids(0, len(images)) == opened(folder).sample_ids(*rows)


@pytest.mark.parametrize("ending", ["[-1:]", "[::2]", "[1:2:3]", "[a:b]", "[1:-1]", "[0.5:2]"])
def test_other_slices_are_refused(folder, ending):
    with pytest.raises(InputError, match="not a slice of the form"):
        opened(f"{folder}{ending}")


@pytest.mark.parametrize("ending", ["[3:3]", "[5:2]", "[12:]", "[99:100]"])
def test_slice_that_selects_nothing_is_refused(folder, ending):
    with pytest.raises(InputError, match="selects none of the 12 images"):
        opened(f"{folder}{ending}")


@given(start=st.none() | st.integers(0, 30), stop=st.none() | st.integers(0, 30))
def test_slice_means_what_it_means_in_python(start, stop):
    text = f"x[{'' if start is None else start}:{'' if stop is None else stop}]"
    expected = range(20)[start:stop]
    if expected:
        assert range(*parse_spec(text).rows(20, None)) == expected
    else:
        with pytest.raises(InputError):
            parse_spec(text).rows(20, None)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_of_no_images_is_refused(folder, limit):
    with pytest.raises(ConfigurationError, match="--limit"):
        opened(folder, limit=limit)


@pytest.mark.parametrize("index", [-1, 12])
def test_image_that_is_not_there_is_an_index_error(folder, index):
    with pytest.raises(IndexError):
        opened(folder).image(index)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("nowhere", "does not exist"),
        ("nowhere.npy", "does not exist"),
        ("nowhere.npz:images", "does not exist"),
        ("nowhere.h5:images", "does not exist"),
        ("nowhere.parquet", "does not exist"),
        ("nowhere-*.tar", "matches no file"),
        ("notes.txt", "is of no known kind; give a folder of images, FILE.npy"),
        ("*.txt", r"files of these kinds: \.txt"),
        ("empty", "holds no images"),
        ("noimages", "holds no images"),
    ],
)
def test_source_that_is_not_there_is_refused(tmp_path, monkeypatch, spec, reason):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty").mkdir()
    (tmp_path / "noimages" / "inside").mkdir(parents=True)
    (tmp_path / "noimages" / "inside" / "notes.txt").write_text("notes")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=reason):
        opened(spec)


@pytest.mark.parametrize(("spec", "reason"), [("", "no image source"), ("sklearn:iris", "digits")])
def test_name_that_means_nothing_is_refused(spec, reason):
    with pytest.raises(InputError, match=reason):
        opened(spec)


def test_source_without_a_readable_image_is_refused(tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"corrupt")
    with pytest.raises(InputError, match=r"none of its 2 images can be used.*not an image"):
        opened(tmp_path)


def test_native_shape_is_that_of_the_first_readable_image(folder):
    (folder / "0.png").write_bytes(b"corrupt")
    Image.new("RGBA", (5, 4)).save(folder / "1.png")
    assert opened(folder).shape == ImageShape(4, 4, 5)
    assert opened(folder, channels="convert", center_crop=3).shape == ImageShape(3, 3, 3)


def test_mismatch_with_the_model_is_refused_with_both_shapes_and_the_cure(folder):
    with pytest.raises(ModelError) as refusal:
        opened(folder, ImageShape(1, 8, 8))
    for part in ("3x6x8", "1x8x8", "--image-fit crop", "--channels convert"):
        assert part in str(refusal.value)
    images = opened(folder, ImageShape(1, 8, 8), image_fit="crop", channels="convert")
    assert images.image(0).shape == (1, 8, 8)


def test_values_are_in_range_after_fitting(folder):
    images = opened(folder, ImageShape(1, 9, 5), image_fit="stretch", channels="convert")
    values = torch.stack([images.image(index) for index in range(len(images))])
    assert values.abs().max() <= 1
    assert values.std() > 0.1


def test_identity_does_not_depend_on_where_the_source_lies(folder, pixels, tmp_path):
    specs = write_everywhere(folder, pixels)
    before = [opened(spec).identity() for spec in specs]
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    shutil.move(tmp_path, moved)
    after = [opened(spec.replace(str(tmp_path), str(moved))).identity() for spec in specs]
    assert after == before


def test_identity_changes_with_one_pixel(folder, pixels):
    specs = write_everywhere(folder, pixels)
    before = [opened(spec).identity() for spec in specs]
    pixels[7, 3, 3, 1] ^= 1
    for path in (folder.parent / "saved", folder.parent / "a.parquet", folder.parent / "a.tar"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    Image.fromarray(pixels[7]).save(folder / "7.png")
    write_everywhere(folder, pixels)
    for spec, identity in zip(specs, before, strict=True):
        assert opened(spec).identity() != identity


def test_identity_changes_with_a_name(folder):
    before = opened(folder).identity()
    (folder / "11.png").rename(folder / "12.png")
    assert opened(folder).identity() != before


def test_identity_changes_with_the_order(folder):
    before = opened(folder).identity()
    (folder / "3.png").rename(folder / "x.png")
    (folder / "4.png").rename(folder / "3.png")
    (folder / "x.png").rename(folder / "4.png")
    assert opened(folder).identity() != before


def test_identity_changes_with_key_range_shape_and_options(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", a=pixels, b=pixels)
    name = f"{tmp_path}/a.npz"
    shape = ImageShape(3, 4, 4)
    identities = [
        opened(f"{name}:a").identity(),
        opened(f"{name}:b").identity(),
        opened(f"{name}:a[1:]").identity(),
        opened(f"{name}:a", limit=11).identity(),
        opened(f"{name}:a", shape, image_fit="crop").identity(),
        opened(f"{name}:a", ImageShape(3, 4, 5), image_fit="crop").identity(),
        opened(f"{name}:a", shape, image_fit="stretch").identity(),
        opened(f"{name}:a", shape, image_fit="crop", center_crop=5).identity(),
        opened(f"{name}:a", channels="convert").identity(),
    ]
    assert len(set(identities)) == len(identities)
    assert opened(f"{name}:a[:11]").identity() == identities[3]
    assert opened(f"{name}:a", limit=99).identity() == identities[0]


def test_identity_tells_ranges_of_equal_images_apart(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 3, 5), np.uint8))
    first, second = (opened(f"{tmp_path}/a.npy{rows}") for rows in ("[:2]", "[2:]"))
    assert first.identity() != second.identity()


def test_identity_is_worked_out_once(folder, monkeypatch):
    images = opened(folder)
    first = images.identity()
    shutil.rmtree(folder)
    assert images.identity() == first
    assert len(first) == 32
