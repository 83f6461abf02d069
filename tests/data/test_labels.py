"""Labels beside the images of a source."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest

from dtrak_stream.data.columns import as_label
from dtrak_stream.data.labels import open_labels, sample_ids_of
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import InputError
from dtrak_stream.support.names import each_of
from tests.data.test_hugging_face import cells, made, png, write_tar
from tests.small_jobs import random_pixels, save_images

NAMES = ["b", "a", None, "b", ""]
EXPECTED = ["b", "a", None, "b", None]


def labels_of(spec: object, column: str) -> list[str | None]:
    labels = open_labels(str(spec), column, ImageOptions(), visible=False)
    return labels.labels(0, len(labels))


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    return [png(image) for image in random_pixels(5)]


def test_a_column_of_parquet_names_labels(tmp_path, encoded):
    made(cells(encoded), artist=NAMES, year=[1, 2, 3, 4, None]).to_parquet(tmp_path / "a.parquet")
    assert labels_of(tmp_path / "a.parquet", "artist") == EXPECTED
    assert labels_of(tmp_path / "a.parquet", "year") == ["1", "2", "3", "4", None]
    assert labels_of(f"{tmp_path}/a.parquet[1:4]", "artist") == EXPECTED[1:4]


def test_classes_of_a_saved_data_set_have_their_names(tmp_path, encoded):
    kind = datasets.ClassLabel(names=["cat", "dog"])
    rows = made(cells(encoded), label=[1, 0, 1, -1, 0]).cast_column("label", kind)
    rows.save_to_disk(tmp_path / "saved")
    assert labels_of(tmp_path / "saved", "label") == ["dog", "cat", "dog", None, "cat"]


def test_a_webdataset_has_columns_and_entries_of_columns(tmp_path, encoded):
    members = {}
    for row, image in enumerate(encoded):
        members[f"{row}.png"] = image
        members[f"{row}.json"] = json.dumps({"artist": f"artist {row % 2}"}).encode()
        members[f"{row}.cls"] = str(row % 3).encode()
    archive = write_tar(tmp_path / "a.tar", members)
    assert labels_of(archive, "json.artist") == [f"artist {row % 2}" for row in range(5)]
    assert labels_of(archive, "cls") == [str(row % 3) for row in range(5)]
    with pytest.raises(InputError, match="there is no entry 'style'; it has artist"):
        labels_of(archive, "json.style")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("values", [[3, 1, 3], ["x", "y", "x"], [2.0, np.nan, 2.0]])
def test_another_key_of_an_npz_file_names_labels(tmp_path, save, values):
    save(tmp_path / "a.npz", images=random_pixels(3), labels=np.array(values))
    expected = [as_label(value) for value in values]
    assert labels_of(f"{tmp_path}/a.npz:images", "labels") == expected


def test_another_data_set_of_an_hdf5_file_names_labels(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["labels"] = random_pixels(3), ["x", "ü", ""]
    assert labels_of(f"{tmp_path}/a.h5:images", "labels") == ["x", "ü", None]


def test_the_folder_an_image_lies_in_is_a_label(tmp_path):
    save_images(tmp_path / "images" / "cats" / "tabby", random_pixels(1))
    save_images(tmp_path / "images" / "dogs", random_pixels(2))
    assert labels_of(tmp_path / "images", "folder") == ["cats/tabby", "dogs", "dogs"]


def test_digits_are_labelled():
    assert labels_of("sklearn:digits[:11]", "target") == [*map(str, range(10)), "0"]


def test_ids_of_a_source_are_had_without_its_images(tmp_path):
    save_images(tmp_path / "images", random_pixels(3))
    ids = sample_ids_of(f"{tmp_path}/images", ImageOptions(), limit=2, visible=False)
    assert list(each_of(ids)) == [b"000.png", b"001.png"]


def test_a_missing_column_is_refused_with_those_there_are(tmp_path, encoded):
    made(cells(encoded), artist=NAMES).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no such column; it has image, artist"):
        labels_of(tmp_path / "a.parquet", "painter")
    np.savez(tmp_path / "a.npz", images=random_pixels(3), labels=np.arange(3))
    with pytest.raises(InputError, match="no array 'label'; it has images, labels"):
        labels_of(f"{tmp_path}/a.npz:images", "label")


@pytest.mark.parametrize("values", [np.arange(4), np.zeros((3, 2), int), np.array(7)])
def test_labels_of_another_shape_are_refused(tmp_path, values):
    np.savez(tmp_path / "a.npz", images=random_pixels(3), labels=values)
    with pytest.raises(InputError, match="there are 3 images"):
        labels_of(f"{tmp_path}/a.npz:images", "labels")


def test_what_is_no_label_is_refused_with_its_row(tmp_path, encoded):
    rows = made(cells(encoded), tags=[["x"]] * 5, size=[1.0, 2.5, 3.0, 4.0, 5.0])
    rows.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 0 holds a list, which is no label"):
        labels_of(tmp_path / "a.parquet", "tags")
    with pytest.raises(InputError, match=r"row 1 holds 2\.5, which is no label"):
        labels_of(tmp_path / "a.parquet", "size")


def test_sources_without_columns_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", random_pixels(3))
    save_images(tmp_path / "images", random_pixels(1))
    with pytest.raises(InputError, match=r"has no columns.*--groups FILE\.csv"):
        labels_of(tmp_path / "a.npy", "labels")
    with pytest.raises(InputError, match=r"has no columns.*or the column folder"):
        labels_of(Path(tmp_path / "images"), "labels")
