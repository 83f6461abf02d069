"""Stores of gradients of unit length keep the residual of each image beside its feature."""

from __future__ import annotations

import numpy as np

from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import read_batch
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.reader import FeatureStore
from tests.small_jobs import random_pixels, save_images, small_job, spoil


def test_a_store_holds_the_residual_of_each_image_and_0_for_one_that_is_none(
    model_folder, tmp_path
):
    images = save_images(tmp_path / "images", random_pixels(5))
    spoil(images / "001.png")
    config = small_job(model_folder, images, tmp_path / "s", timestep_weights="unit-gradient")
    assert featurize(config).quarantined == 1
    maker = make_featurizer(model_folder, config.features)
    batch, _ = read_batch(open_images(str(images), maker.image_shape, visible=False), range(5))
    residuals = maker.residuals(batch)
    assert residuals is not None
    expected = np.insert(residuals.numpy(), 1, 0.0)
    found = FeatureStore.open(config.store).residuals()
    assert np.allclose(found, expected, rtol=1e-4)
    assert (np.delete(found, 1) > 0).all()
