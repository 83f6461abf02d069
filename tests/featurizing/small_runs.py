"""Small runs, and what is in their stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.calibration import choose_execution
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.store.reader import FeatureStore

CORRUPT = ("001.png", "005.png", "006.png")
"""The images of the fixture `spoilt` that cannot be decoded, one for each of its shards."""

MANY = 24
"""How many images the fixture `many_images` has."""

LONG: dict[str, Any] = {"rows_per_shard": 1, "timesteps": "uniform:50"}
"""Options of a run over them that takes long enough to be stopped on its way."""

OPTIONS = FeatureOptions(timesteps="2", proj_dim=64, dtype="float32", rows_per_shard=8)


def config_of(images, model, store, **options):
    return FeaturizeConfig(images, store, model, features=OPTIONS, quiet=True, **options)


def features_of(store):
    return FeatureStore.open(store).rows(range(20))


def choose(model, images, options=None, feature_options=OPTIONS):
    featurizer = make_featurizer(model, feature_options)
    source = open_images(images, featurizer.image_shape, visible=False)
    return featurizer, choose_execution(featurizer, source, options or ExecutionOptions())


def shards_in(store: Path) -> dict[str, Path]:
    return {path.name: path for path in store.glob("shards/*.h5")}


def edit(path: Path, place: int = -1) -> None:
    """Change a byte and put the old times back, as far as a user can."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def spoil_shard(path: Path) -> None:
    """Change a bit of the features in a shard."""
    with h5py.File(path) as file:
        place = file["features"].id.get_offset()
    edit(path, place)


def repaint(path: Path) -> None:
    """Make it another image, and put the old times back."""
    status = path.stat()
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
