"""Ids and order of imported rows: from a file, from images, as declared."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.exchange.options import PickedImages
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.groups.sums import sum_groups
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.reader import FeatureStore
from tests.exchange.conftest import (
    features_in,
    ids_in,
    imported,
    random_features,
    saved,
)
from tests.small_jobs import random_pixels, save_images


def test_rows_come_in_the_order_that_is_declared(tmp_path):
    array, order = random_features(9, 3), np.array([7, 0, 3, 8])
    path, listed = saved(tmp_path / "a.npy", array), saved(tmp_path / "order.npy", order)
    imported(path, tmp_path / "store", row_order=listed)
    assert np.array_equal(features_in(tmp_path / "store"), array[order])


def test_ids_come_from_a_file_or_from_images(tmp_path):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    (tmp_path / "ids.txt").write_text("c\na b\nü\n", encoding="utf-8")
    imported(path, tmp_path / "named", ids=tmp_path / "ids.txt")
    assert ids_in(tmp_path / "named") == ["c", "a b", "ü"]
    images = save_images(tmp_path / "images", random_pixels(5))
    imported(path, tmp_path / "pictured", images=f"{images}[1:4]")
    assert ids_in(tmp_path / "pictured") == ["001.png", "002.png", "003.png"]


def test_imported_features_keep_a_hash_of_the_pictures_they_are_said_to_be_of(tmp_path):
    path, store = saved(tmp_path / "a.npy", random_features(3, 4)), tmp_path / "store"
    images = save_images(tmp_path / "images", random_pixels(3))
    imported(path, store, images=str(images))
    kept = read_layout(store).pictures()
    assert kept == open_images(str(images), visible=False).pictures_identity()
    moved = images.rename(tmp_path / "moved")
    imported(path, store, images=str(moved))
    save_images(moved, random_pixels(1, seed=1))
    with pytest.raises(FingerprintMismatchError, match="hash of the pictures"):
        imported(path, store, images=str(moved))
    imported(path, tmp_path / "unnamed")
    assert read_layout(tmp_path / "unnamed").pictures() == ""


def test_groups_of_other_pictures_with_the_same_names_are_refused(tmp_path):
    for seed, name in enumerate(("ours", "theirs")):
        pixels = random_pixels(3, seed=seed)
        np.savez(tmp_path / f"{name}.npz", pixels=pixels, artist=np.array(["a", "b", "a"]))
    path, ours = saved(tmp_path / "a.npy", random_features(3, 4)), f"{tmp_path}/ours.npz:pixels"
    imported(path, tmp_path / "store", images=ours)
    train = FeatureStore(read_layout(tmp_path / "store"))
    groups = GroupOptions(group_column="artist", group_source=ours)

    def summed(groups: GroupOptions) -> object:
        return sum_groups(
            groups,
            train,
            lambda: np.ones(3, np.bool_),
            queries=1,
            images=None,
            memory_limit=2**20,
            visible=False,
        )

    summed(groups)
    others = dataclasses.replace(groups, group_source=f"{tmp_path}/theirs.npz:pixels")
    with pytest.raises(FingerprintMismatchError, match="pictures of the training images"):
        summed(others)


@pytest.mark.parametrize("text", ["a\r\nb\r\nc\r\n", "a\r\nb\r\nc", "a\nb\nc"])
def test_ids_end_where_their_lines_do(tmp_path, text):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    (tmp_path / "ids").write_bytes(text.encode())
    imported(path, tmp_path / "store", ids=tmp_path / "ids")
    assert ids_in(tmp_path / "store") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\n", "names 2 samples, the features are of 3"),
        ("a\nb\na\n", r"1 ids are there more than once \(a\)"),
        ("a\n\nb\n", "line 2 is empty"),
        ("a\nb\0\nc\n", "line 2 is not an id"),
        ("a\nb\n\udcff\n", "not UTF-8"),
    ],
)
def test_ids_that_do_not_name_each_sample_are_refused(tmp_path, text, message):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    (tmp_path / "ids").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        imported(path, tmp_path / "store", ids=tmp_path / "ids")


def test_ids_given_twice_are_refused(tmp_path):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    with pytest.raises(ConfigurationError, match="given twice"):
        imported(path, tmp_path / "store", ids=tmp_path / "ids", images="sklearn:digits")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (np.array([0, 9]), "entry 1 is 9, and the array has 3 rows"),
        (np.array([0, -1]), "entry 1 is -1"),
        (np.array([2, 0, 2]), "names row 2 more than once"),
        (np.array([0.0, 1.0]), "not a list of row numbers"),
        (np.zeros((2, 2), int), "not a list of row numbers"),
    ],
)
def test_an_order_that_is_none_is_refused(tmp_path, order, message):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    with pytest.raises(InputError, match=message):
        imported(path, tmp_path / "s", row_order=saved(tmp_path / "order.npy", order))


def test_ids_are_those_of_the_images_that_an_index_picks(tmp_path):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    images = save_images(tmp_path / "images", random_pixels(5))
    (tmp_path / "idx-train.pkl").write_bytes(pickle.dumps([4, 0, 2]))
    picked = PickedImages(rows=tmp_path / "idx-train.pkl")
    imported(path, tmp_path / "store", images=str(images), picked=picked)
    assert ids_in(tmp_path / "store") == ["004.png", "000.png", "002.png"]


def test_rows_of_no_images_are_refused(tmp_path):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    with pytest.raises(ConfigurationError, match="--split, --rows: nothing is picked"):
        imported(path, tmp_path / "store", picked=PickedImages("all", rows=tmp_path / "a"))
