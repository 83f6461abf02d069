"""What lies beside images, as each kind of source tells it."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest

from dtrak_stream.data.columns import as_label
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source import Source
from dtrak_stream.errors import InputError
from tests.data.test_hugging_face import cells, made, png, write_tar
from tests.small_jobs import random_pixels, save_images


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    return [png(image) for image in random_pixels(3)]


def opened(place: object) -> Source:
    return open_source(str(place), ImageOptions(), visible=False)


def kinds(source: Source) -> dict[str, str]:
    return {name: column.kind for name, column in source.columns().items()}


def test_a_data_set_tells_texts_numbers_classes_and_structures(tmp_path, encoded):
    about = [{"style": "cubism", "year": 1907}] * 3
    rows = made(
        cells(encoded), text=["a", "b", None], label=[0, 1, -1], size=[1.5] * 3, about=about
    )
    rows = rows.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    rows.save_to_disk(tmp_path / "saved")
    source = opened(tmp_path / "saved")
    assert kinds(source) == {
        **{"text": "text", "label": "class", "size": "other", "about": "other"},
        **{"about.style": "text", "about.year": "number"},
    }
    assert source.columns()["label"].classes == ("cat", "dog")
    assert source.column("label", 0, 3) == ["cat", "dog", None]
    assert source.column("about.year", 1, 2) == [1907]


def test_endings_tell_what_a_tar_file_has_beside_images(tmp_path, encoded):
    members = {}
    for row, image in enumerate(encoded):
        members[f"{row}.png"] = image
        members[f"{row}.txt"] = f"caption {row}".encode()
        members[f"{row}.cls"] = str(row).encode()
        members[f"{row}.json"] = json.dumps({"caption": "c", "width": 8, "url": "u"}).encode()
    source = opened(write_tar(tmp_path / "a.tar", members))
    expected = {"txt": "text", "cls": "number", "json": "other", "json.caption": "text"}
    others = {"json.width": "number", "json.url": "name", "__key__": "name", "__url__": "name"}
    assert kinds(source) == expected | others
    assert source.column("txt", 1, 3) == [b"caption 1", b"caption 2"]
    assert source.column("json.width", 0, 1) == [8]


def test_arrays_of_one_file_lie_beside_each_other(tmp_path):
    texts, labels = ["x", "y", "z"], np.arange(3)
    np.savez(
        tmp_path / "a.npz", images=random_pixels(3), texts=texts, labels=labels, odd=labels[1:]
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["texts"], file["labels"] = random_pixels(3), texts, labels
        file["odd"] = labels[1:]
    for name in ("a.npz", "a.h5"):
        source = opened(f"{tmp_path / name}:images")
        expected = {"images": "other", "texts": "text", "labels": "number", "odd": "other"}
        assert kinds(source) == expected
        assert list(source.column("labels", 1, 3)) == [1, 2]


def test_what_is_no_array_of_numbers_does_not_keep_images_from_being_read(tmp_path):
    objects = np.array([None, {}], object)
    np.savez(tmp_path / "a.npz", images=random_pixels(3), odd=objects)
    assert kinds(opened(f"{tmp_path}/a.npz:images")).keys() == {"images"}


def test_a_folder_tells_folders(tmp_path: Path):
    save_images(tmp_path / "images" / "cats", random_pixels(2))
    source = opened(tmp_path / "images")
    assert kinds(source) == {"folder": "name"}
    assert source.column("folder", 0, 2) == ["cats", "cats"]
    with pytest.raises(InputError, match="there is no such column; it has folder"):
        source.column("artist", 0, 1)


def test_a_source_without_anything_beside_says_so(tmp_path):
    np.save(tmp_path / "a.npy", random_pixels(3))
    source = opened(tmp_path / "a.npy")
    assert not source.columns()
    with pytest.raises(InputError, match="no array 'labels'"):
        source.column("labels", 0, 1)


def test_half_a_character_is_no_label():
    with pytest.raises(ValueError, match=r"ud800"):
        as_label("\ud800")
    assert as_label(b"\xf0\x9f\x98\xba ") == "\U0001f63a"
