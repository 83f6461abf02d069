"""The stamp of a source: it shows what changed in its files, and reads no image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data import arrays, source_stamp
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source_stamp import SourceStamps, stamp_source
from dtrak_stream.errors import InputError
from dtrak_stream.support.stamps import Stamp, Stamping


def stamp_of(spec: object) -> Stamp:
    stamping = Stamping()
    assert stamp_source(str(spec), ImageOptions(), stamping)
    return stamping.stamp()


def with_other_bytes(path: Path) -> None:
    """Change the last byte and nothing that a listing shows, save the change time."""
    before = stamp_of_file(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    status = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert stamp_of_file(path)[:2] == before[:2]


def stamp_of_file(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def rows_of(folder: Path) -> datasets.Dataset:
    cells = [{"bytes": file.read_bytes(), "path": None} for file in sorted(folder.iterdir())]
    return datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())


@pytest.fixture
def sources(tmp_path: Path, folder: Path, pixels: np.ndarray) -> dict[str, tuple[str, Path]]:
    """A source of each kind with one of its files."""
    np.save(tmp_path / "a.npy", pixels)
    np.savez(tmp_path / "b.npz", images=pixels)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["images"] = pixels
    rows_of(folder).to_parquet(tmp_path / "parquet" / "0.parquet")
    rows_of(folder).save_to_disk(tmp_path / "saved")
    return {
        "folder": (f"{folder}[:3]", folder / "1.png"),
        "npy": (f"{tmp_path}/a.npy", tmp_path / "a.npy"),
        "npz": (f"{tmp_path}/b.npz:images", tmp_path / "b.npz"),
        "hdf5": (f"{tmp_path}/c.h5:images", tmp_path / "c.h5"),
        "parquet": (f"{tmp_path}/parquet", tmp_path / "parquet" / "0.parquet"),
        "pattern": (f"{tmp_path}/parquet/*.parquet", tmp_path / "parquet" / "0.parquet"),
        "saved": (f"{tmp_path}/saved", next((tmp_path / "saved").glob("*.arrow"))),
    }


@pytest.mark.parametrize("kind", ["folder", "npy", "npz", "hdf5", "parquet", "pattern", "saved"])
def test_other_bytes_of_the_same_size_and_time_show(sources, kind, decodes):
    spec, path = sources[kind]
    before = stamp_of(spec)
    assert stamp_of(spec) == before
    assert before.settle()
    with_other_bytes(path)
    assert stamp_of(spec) != before
    assert not decodes


def test_an_image_more_or_less_shows(folder):
    before = stamp_of(folder)
    (folder / "deeper").mkdir()
    Image.new("L", (8, 8)).save(folder / "deeper" / "0.png")
    more = stamp_of(folder)
    (folder / "deeper" / "0.png").unlink()
    assert more.files == before.files + 1
    assert stamp_of(folder) == before
    (folder / "3.png").unlink()
    assert stamp_of(folder).files == before.files - 1


def test_what_is_no_image_does_not_show(folder):
    before = stamp_of(folder)
    (folder / "captions.md").write_text("a cat")
    (folder / ".0.txt").write_text("a cat")
    (folder / ".thumbnails").mkdir()
    Image.new("L", (8, 8)).save(folder / ".thumbnails" / "0.png")
    assert stamp_of(folder) == before


@pytest.mark.parametrize("name", ["0.txt", "metadata.jsonl", "metadata.csv"])
def test_what_says_something_of_images_shows(folder, name):
    before = stamp_of(folder)
    (folder / name).write_text("a cat")
    with_captions = stamp_of(folder)
    assert with_captions != before
    with_other_bytes(folder / name)
    assert stamp_of(folder) != with_captions


def test_a_metadata_file_above_a_split_shows(folder):
    (folder.parent / "set").mkdir()
    for split in ("train", "test"):
        shutil.copytree(folder, folder.parent / "set" / split)
    stamps, options = SourceStamps(), ImageOptions(split="test")
    before = stamps.of(str(folder.parent / "set"), options)
    (folder.parent / "set" / "metadata.jsonl").write_text("{}")
    assert SourceStamps().of(str(folder.parent / "set"), options) != before


def test_a_folder_that_became_a_data_set_shows(folder):
    before = stamp_of(folder)
    for name in ("state.json", "dataset_info.json"):
        (folder / name).write_text("{}")
    assert stamp_of(folder) != before


def test_other_digits_in_the_package_show(tmp_path, monkeypatch):
    before = stamp_of("sklearn:digits[:5]")
    copy = Path(shutil.copyfile(arrays.DIGITS_FILE, tmp_path / "digits.npz"))
    monkeypatch.setattr(source_stamp, "DIGITS_FILE", copy)
    first = stamp_of("sklearn:digits[:5]")
    with_other_bytes(copy)
    assert len({before, first, stamp_of("sklearn:digits[:5]")}) == 3


def test_a_data_set_of_the_hub_is_looked_at_in_the_cache(tmp_path, folder, monkeypatch):
    rows_of(folder).save_to_disk(tmp_path / "cache")
    cached = datasets.load_from_disk(str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_arguments, **_options: cached)
    before = stamp_of("hf:someone/something")
    assert before.settle()
    with_other_bytes(next((tmp_path / "cache").glob("*.arrow")))
    assert stamp_of("hf:someone/something") != before


def test_a_data_set_of_the_hub_without_a_copy_has_no_stamp(folder, monkeypatch):
    in_memory = rows_of(folder)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_arguments, **_options: in_memory)
    assert not stamp_source("hf:someone/something", ImageOptions(), Stamping())


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        stamp_of(tmp_path / "nowhere")


def test_a_data_set_that_names_files_reaches_outside(tmp_path, folder):
    cells = [{"bytes": None, "path": str(file)} for file in sorted(folder.iterdir())]
    named = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    named.to_parquet(tmp_path / "named.parquet")
    rows_of(folder).to_parquet(tmp_path / "held.parquet")
    for name, outside in (("named.parquet", True), ("held.parquet", False)):
        images = open_images(str(tmp_path / name), visible=False)
        images.identity()
        assert images.reaches_outside() == outside


@pytest.mark.parametrize("kind", ["virtual", "external", "plain"])
def test_an_array_that_lies_in_another_file_reaches_outside(tmp_path, pixels, kind):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = pixels
    with h5py.File(tmp_path / "view.h5", "w") as file:
        if kind == "virtual":
            layout = h5py.VirtualLayout(pixels.shape, pixels.dtype)
            layout[:] = h5py.VirtualSource("data.h5", "images", pixels.shape)
            file.create_virtual_dataset("images", layout)
        elif kind == "external":
            (tmp_path / "raw.bin").write_bytes(pixels.tobytes())
            where = [(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("images", pixels.shape, pixels.dtype, external=where)
        else:
            file["images"] = pixels
    images = open_images(f"{tmp_path}/view.h5:images", visible=False)
    assert images.reaches_outside() == (kind != "plain")


def test_an_identity_that_is_known_is_not_hashed_again(folder, monkeypatch):
    identity = open_images(str(folder), visible=False).identity()
    known = open_images(str(folder), identity=identity, visible=False)
    monkeypatch.setattr("dtrak_stream.data.folder.file_hash", None)
    assert known.identity() == identity


def test_stamps_of_one_moment_show_sources_as_they_were_first_looked_at(folder: Path) -> None:
    stamps, body = SourceStamps(), str(folder)
    before = stamps.of(body, ImageOptions())
    assert before == stamp_of(folder)
    with_other_bytes(next(folder.iterdir()))
    assert stamps.of(body, ImageOptions()) == before
    assert SourceStamps().of(body, ImageOptions()) == stamp_of(folder) != before


def test_stamps_of_one_moment_keep_sources_and_options_apart(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "halves" / "train")
    shutil.copytree(folder, tmp_path / "halves" / "test")
    stamps, body = SourceStamps(), str(tmp_path / "halves")
    train, test = (stamps.of(body, ImageOptions(split=split)) for split in ("train", "test"))
    assert len({train, test, stamps.of(str(folder), ImageOptions())}) == 3
