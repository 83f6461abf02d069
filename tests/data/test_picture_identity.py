"""A hash of pictures that is the same in every container."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.picture_identity import are_comparable, is_of_pictures
from tests.small_jobs import random_pixels, save_images

NAMES = ["0", "1", "2"]


def identity(spec: object, shape: ImageShape | None = None, **options) -> str:
    images = open_images(str(spec), shape, ImageOptions(**options), visible=False)
    return images.pictures_identity()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images", random_pixels(3), [f"{name}.png" for name in NAMES])


def test_files_have_one_hash_in_every_container(folder, tmp_path):
    found = identity(folder)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    (folder / "list.csv").write_text("path\n" + "".join(f"{name}.png\n" for name in NAMES))
    assert identity(tmp_path / "a.zip") == identity(f"list:{folder}/list.csv") == found
    assert identity(folder, ImageShape(1, 4, 4), image_fit="resize") == found
    cells = [{"bytes": (folder / f"{name}.png").read_bytes(), "path": None} for name in NAMES]
    rows = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    rows.to_parquet(tmp_path / "a.parquet")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, cell in zip(NAMES, cells, strict=True):
            member = tarfile.TarInfo(f"{name}.png")
            member.size = len(cell["bytes"])
            archive.addfile(member, io.BytesIO(cell["bytes"]))
    # both name their samples 0, 1 and 2
    assert identity(tmp_path / "a.parquet") == identity(tmp_path / "a.tar") != found


def test_bytes_names_and_order_count(folder, tmp_path):
    found = identity(folder)
    assert identity(f"{folder}[:2]") != found
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "0.png").rename(other / "00.png")
    assert identity(other) != found
    (other / "00.png").rename(other / "0.png")
    assert identity(other) == found
    shutil.copy(other / "1.png", other / "0.png")
    assert identity(other) != found


def test_arrays_have_one_hash_in_files_of_every_kind_and_are_not_compared_with_files(
    folder, tmp_path
):
    pixels = random_pixels(3)
    np.save(tmp_path / "a.npy", pixels)
    np.savez(tmp_path / "a.npz", pixels=pixels)
    found = identity(tmp_path / "a.npy")
    assert identity(f"{tmp_path / 'a.npz'}:pixels") == found
    assert identity(f"{tmp_path / 'a.npy'}[1:]") != found
    assert not are_comparable(found, identity(folder))
    assert are_comparable(found, found)
    assert not are_comparable("", "")
    assert is_of_pictures(found)
    assert not is_of_pictures(open_images(str(folder), visible=False).identity())
