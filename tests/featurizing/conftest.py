"""Images that tests of featurizing share, and a finished store of some of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.featurizing.run import featurize
from tests.featurizing.small_runs import CORRUPT, LONG, MANY
from tests.small_jobs import random_pixels, save_images, small_job, spoil, stored


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    return str(path)


@pytest.fixture(scope="session")
def spoilt(tmp_path_factory) -> Path:
    """Eight images in three shards; each shard has a corrupt one."""
    folder = save_images(tmp_path_factory.mktemp("spoilt"), random_pixels(8))
    for name in CORRUPT:
        spoil(folder / name)
    return folder


@pytest.fixture(scope="session")
def whole(model_folder, spoilt, tmp_path_factory) -> Path:
    """The store of a run over the spoilt images that nothing interrupted."""
    store: Path = tmp_path_factory.mktemp("whole") / "s"
    featurize(small_job(model_folder, spoilt, store))
    return store


@pytest.fixture(scope="session")
def many_images(tmp_path_factory) -> Path:
    """Images of a run that is stopped on its way."""
    return save_images(tmp_path_factory.mktemp("many"), random_pixels(MANY))


@pytest.fixture(scope="session")
def alone(model_folder, many_images, tmp_path_factory) -> dict[str, bytes]:
    """The files of such a store that this process filled alone, without a stop."""
    store: Path = tmp_path_factory.mktemp("alone") / "s"
    featurize(small_job(model_folder, many_images, store, **LONG))
    return stored(store)


@pytest.fixture
def begun(whole, tmp_path) -> Path:
    """A copy of the finished store."""
    return Path(shutil.copytree(whole, tmp_path / "begun"))


@pytest.fixture
def job(model_folder, tmp_path):
    """A finished job with images and a model of its own."""
    images = save_images(tmp_path / "images", random_pixels(7))
    model = shutil.copytree(model_folder, tmp_path / "model")
    config = small_job(str(model), images, tmp_path / "s")
    assert featurize(config).computed == 7
    return config
