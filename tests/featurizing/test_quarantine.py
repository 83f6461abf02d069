"""Images and gradients that cannot be used are left out, and options are refused by their flag."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from dtrak_stream.errors import InputError, ModelError
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from tests.conftest import build_unet, save_model
from tests.featurizing.test_featurize import assert_rows_close, features_of
from tests.small_jobs import (
    random_pixels,
    save_images,
    small_job,
    spoil,
)


def test_corrupt_images_are_quarantined_and_the_others_are_not(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(7))
    expected = features_of(small_job(model_folder, images, tmp_path / "whole"))
    spoil(images / "001.png")
    (images / "005.png").write_bytes(b"not an image")
    result = featurize(small_job(model_folder, images, tmp_path / "s"))
    assert (result.quarantined, result.computed) == (2, 7)
    entries = read_quarantine(tmp_path / "s" / "quarantine.jsonl")
    assert [(entry.row, entry.sample_id) for entry in entries] == [(1, "001.png"), (5, "005.png")]
    assert "truncated" in entries[0].reason
    assert "not an image" in entries[1].reason
    store = FeatureStore.open(tmp_path / "s")
    assert np.flatnonzero(~store.usable()).tolist() == [1, 5]
    kept = [0, 2, 3, 4, 6]
    assert_rows_close(store.rows(range(7))[kept], expected[kept], 1e-5)


def test_a_shard_without_any_good_image_does_not_stop_the_run(model_folder, tmp_path, capsys):
    images = save_images(tmp_path / "images", random_pixels(7))
    for name in ("003.png", "004.png", "005.png"):
        spoil(images / name)
    assert featurize(small_job(model_folder, images, tmp_path / "s")).quarantined == 3
    assert "every sample of shard 1 is bad" in capsys.readouterr().err
    assert FeatureStore.open(tmp_path / "s").usable().tolist() == [True] * 3 + [False] * 3 + [True]


def test_images_of_which_the_first_frame_was_taken_are_told_once(tmp_path, capsys):
    images = save_images(tmp_path / "images", random_pixels(7))
    with Image.open(images / "004.png") as first, Image.open(images / "005.png") as second:
        first.save(images / "004.png", save_all=True, append_images=[second])
    config = small_job(
        "", images, tmp_path / "s", output_function="pixels", execution=ExecutionOptions()
    )
    featurize(config)
    told = f"{images}: 1 image has several frames or pages; the first is taken (004.png)"
    assert capsys.readouterr().err.splitlines().count(told) == 1


@pytest.fixture(scope="module")
def overflowing_model(tmp_path_factory):
    """A model whose first layer gives grey images large numbers and bright ones inf."""
    unet = build_unet()
    with torch.no_grad():
        unet.conv_in.weight.mul_(1e20)
    return save_model(tmp_path_factory.mktemp("overflowing"), unet)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_gradient_that_is_not_finite_is_quarantined(overflowing_model, tmp_path, dtype):
    pixels = np.full((5, 8, 8), 127, np.uint8)
    pixels[[1, 4]] = 255
    images = save_images(tmp_path / "images", pixels)
    options = {"dtype": dtype, "timesteps": "list:0"}
    features = features_of(small_job(overflowing_model, images, tmp_path / "s", **options))
    entries = read_quarantine(tmp_path / "s" / "quarantine.jsonl")
    assert [entry.sample_id for entry in entries] == ["001.png", "004.png"]
    assert all("NaN or inf" in entry.reason for entry in entries)
    assert np.isfinite(features).all()
    assert features.any(axis=1).tolist() == [True, False, True, True, False]
    for shard in (tmp_path / "s" / "shards").iterdir():
        with h5py.File(shard) as file:
            assert all(np.isfinite(file[name]).all() for name in ("features", "scale", "norm"))


def test_a_source_without_any_good_image_is_refused(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(2))
    for image in images.iterdir():
        spoil(image)
    with pytest.raises(InputError, match="none of its 2 images can be used"):
        featurize(small_job(model_folder, images, tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_images_of_another_shape_are_refused(tmp_path, images):
    model = save_model(tmp_path / "rgb", build_unet(channels=3))
    with pytest.raises(ModelError, match=r"images are 1x8x8 .* wants 3x8x8; use --channels"):
        featurize(small_job(model, images, tmp_path / "s"))
    assert not (tmp_path / "s").exists()
