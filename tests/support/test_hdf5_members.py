"""HDF5 files that show data of other files: neither a result nor images are read through them."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.gram.file import Gram
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.reader import FeatureStore
from tests.scoring.conftest import attribution_of, whole_numbers

PIXELS = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
WAYS = ("external link", "soft link", "virtual", "external storage")


def shown_elsewhere(file: h5py.File, name: str, way: str, secret: Path) -> None:
    """Replace a data set by the same one, whose data lies in `secret`."""
    values = file[name][()]
    del file[name]
    with h5py.File(secret, "w") as other:
        other["kept"] = values
        place = other["kept"].id.get_offset()
    if way == "external link":
        file[name] = h5py.ExternalLink(str(secret), "kept")
    elif way == "soft link":
        file["inside"] = values
        file[name] = h5py.SoftLink("/inside")
    elif way == "virtual":
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[...] = h5py.VirtualSource(str(secret), "kept", values.shape)
        file.create_virtual_dataset(name, layout)
    else:
        where = [(str(secret), place, values.nbytes)]
        file.create_dataset(name, values.shape, values.dtype, external=where)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a Gram matrix and scores."""
    run = attribution_of(tmp_path_factory.mktemp("run"), whole_numbers(9, 64), whole_numbers(3, 64))
    run.score()
    return run


@pytest.fixture
def secret(tmp_path):
    """Where nothing should be read."""
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere" / "secret.h5"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["gram", "scores"])
def test_a_result_that_shows_data_of_others_is_refused(finished, tmp_path, secret, name, way):
    path = tmp_path / f"{name}.h5"
    shutil.copy(finished.gram if name == "gram" else finished.out, path)
    with h5py.File(path, "r+") as file:
        shown_elsewhere(file, "gram" if name == "gram" else "top_score", way, secret)
    with pytest.raises(InputError, match=r"is a link|shows data of other places") as refusal:
        Gram.open(path).matrix() if name == "gram" else ScoresFile(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "soft link"])
def test_a_shard_is_read_from_its_own_bytes_alone(finished, tmp_path, secret, way):
    store = tmp_path / "store"
    shutil.copytree(finished.train.layout.root, store)
    shard = next((store / "shards").glob("*.h5"))
    with h5py.File(shard, "r+") as file:
        shown_elsewhere(file, "features", way, secret)
    with pytest.raises(CorruptFileError, match=shard.name):
        FeatureStore.open(store).rows(range(9))


@pytest.mark.parametrize("way", WAYS)
def test_images_that_lie_elsewhere_are_refused(tmp_path, secret, way):
    folder = tmp_path / "images"
    folder.mkdir()
    with h5py.File(folder / "i.h5", "w") as file:
        file["images"] = PIXELS
        shown_elsewhere(file, "images", way, secret)
    with pytest.raises(InputError, match=r"shows data of another file|no array 'images'"):
        open_images(f"{folder}/i.h5:images", visible=False)


def test_a_view_of_a_view_is_followed(tmp_path, secret):
    folder = tmp_path / "images"
    folder.mkdir()
    with h5py.File(folder / "inner.h5", "w") as file:
        file["images"] = PIXELS
        shown_elsewhere(file, "images", "external storage", secret)
    with h5py.File(folder / "outer.h5", "w") as file:
        layout = h5py.VirtualLayout(PIXELS.shape, PIXELS.dtype)
        layout[...] = h5py.VirtualSource("inner.h5", "images", PIXELS.shape)
        file.create_virtual_dataset("images", layout)
    with pytest.raises(InputError, match=r"secret\.h5"):
        open_images(f"{folder}/outer.h5:images", visible=False)


def test_a_view_of_files_in_its_folder_is_read(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = PIXELS
    with h5py.File(tmp_path / "view.h5", "w") as file:
        layout = h5py.VirtualLayout(PIXELS.shape, PIXELS.dtype)
        layout[...] = h5py.VirtualSource("data.h5", "images", PIXELS.shape)
        file.create_virtual_dataset("images", layout)
    images = open_images(f"{tmp_path}/view.h5:images", visible=False)
    assert len(images) == 2
