"""Stores of unit gradients: features, residuals, and stores that have neither."""

from __future__ import annotations

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
)
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.store.reader import FeatureStore
from tests.conftest import build_unet, save_model
from tests.small_jobs import (
    ALIKE,
    HOOKED,
    fingerprint_of,
    random_pixels,
    save_images,
    small_job,
    spoil,
    stored,
)

TIMESTEPS = (0, 500)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), random_pixels(5))


def das_job(model, images, store, **changes):
    options = {
        "output_function": "avg",
        "timestep_weights": "unit-gradient",
        "dtype": "float32",
        "projector": "identity",
        **changes,
    }
    return small_job(model, images, store, **options)


def slow_das(model, images):
    """Features and residuals of DAS in float64, one sample and timestep at a time."""
    denoiser = load_denoiser(model, dtype=torch.float64)
    chosen = list(choose_parameters(denoiser.network, "all").values())
    source = open_images(str(images), visible=False)
    features, residuals = [], []
    for index in range(len(source)):
        units, errors = [], []
        for t in map(torch.tensor, [[t] for t in TIMESTEPS]):
            noise = ImageNoise(0).draw(
                (1, 8, 8), sample_id="", pairs=[(int(t), 0)], device=torch.device("cpu")
            )
            image = source.image(index).double()
            noisy, target = denoiser.schedule.noisy_and_target(image, noise.double(), t)
            output = denoiser.predict(noisy, t)
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(output.mean(), chosen)])
            units.append(gradient / gradient.norm())
            errors.append((output - target).square().mean().sqrt().item())
        features.append(torch.stack(units).mean(dim=0))
        residuals.append(np.mean(np.array(errors) / np.linalg.norm(errors)))
    return torch.stack(features).numpy(), np.array(residuals)


@pytest.mark.parametrize("execution", [ALIKE, HOOKED], ids=lambda execution: execution.engine)
def test_features_and_residuals_are_those_of_das(model_folder, images, tmp_path, execution):
    features, residuals = slow_das(model_folder, images)
    config = das_job(model_folder, images, tmp_path / "s", execution=execution)
    featurize(config)
    store = FeatureStore.open(config.store)
    found = store.rows(range(5))
    assert np.linalg.norm(found - features, axis=1).max() < 1e-4
    assert store.residuals().dtype == np.float32
    np.testing.assert_allclose(store.residuals(), residuals, rtol=1e-4)
    with h5py.File(config.store / "features.h5") as joined:
        assert np.array_equal(joined["residual"][()], store.residuals())


def test_half_precision_gives_nearly_the_same(model_folder, images, tmp_path):
    exact = das_job(model_folder, images, tmp_path / "s", execution=HOOKED)
    half = das_job(model_folder, images, tmp_path / "t", execution=HOOKED, precision="bfloat16")
    featurize(exact)
    featurize(half)
    first, second = (FeatureStore.open(job.store).rows(range(5)) for job in (exact, half))
    cosines = (
        (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    )
    assert cosines.min() > 0.98
    assert (first != second).any()


def test_the_fingerprint_tells_unit_gradients_apart(model_folder, images, tmp_path):
    featurize(das_job(model_folder, images, tmp_path / "s"))
    assert fingerprint_of(tmp_path / "s").timestep_weights == "unit-gradient"
    with pytest.raises(FingerprintMismatchError, match="timestep_weights differs"):
        featurize(das_job(model_folder, images, tmp_path / "s", timestep_weights="none"))


def test_a_plain_store_is_the_file_it_always_was(model_folder, images, tmp_path):
    featurize(das_job(model_folder, images, tmp_path / "s", timestep_weights="none"))
    plan = json.loads((tmp_path / "s" / "store.json").read_text())
    assert "timestep_weights" not in plan["fingerprint"]
    with h5py.File(tmp_path / "s" / "shards" / "00000000.h5") as shard:
        assert set(shard) == {"features", "scale", "sample_id", "norm"}
    store = FeatureStore.open(tmp_path / "s")
    with pytest.raises(InputError, match=r"no residuals; give a store .* with residuals"):
        store.residuals()


def test_a_sample_that_overflows_is_quarantined_with_its_residual(images, tmp_path):
    unet = build_unet()
    with torch.no_grad():
        unet.conv_out.weight.mul_(1e30)  # an answer is finite, its square is not
    model = save_model(tmp_path / "m", unet)
    assert featurize(das_job(model, images, tmp_path / "s")).quarantined == 5
    store = FeatureStore.open(tmp_path / "s")
    assert not store.rows(range(5)).any()
    assert not store.residuals().any()


def test_corrupt_images_have_no_residual(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(5))
    spoil(images / "001.png")
    featurize(das_job(model_folder, images, tmp_path / "s"))
    assert (FeatureStore.open(tmp_path / "s").residuals() > 0).tolist() == [
        True, False, True, True, True,
    ]  # fmt: skip


def test_residuals_survive_ctrl_c_and_a_lost_shard(model_folder, images, tmp_path, monkeypatch):
    whole = das_job(model_folder, images, tmp_path / "whole")
    featurize(whole)
    config = dataclasses.replace(whole, store=tmp_path / "interrupted")
    features, calls = Featurizer.features, list[tuple[str, ...]]()

    def once(self, batch):
        if calls:
            raise KeyboardInterrupt
        calls.append(batch.ids)
        return features(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Featurizer, "features", once)
        with pytest.raises(InterruptedRunError, match="2 rows of the next"):
            featurize(config)
    featurize(config)
    assert stored(config.store) == stored(whole.store)
    shutil.rmtree(config.store / "shards")
    featurize(config)
    assert stored(config.store) == stored(whole.store)


def test_image_features_have_no_timesteps(images, tmp_path):
    with pytest.raises(ConfigurationError, match="--timestep-weights unit-gradient"):
        featurize(das_job("no model", images, tmp_path / "s", output_function="pixels"))
