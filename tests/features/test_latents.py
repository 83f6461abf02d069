"""Features of models of latents: which latents are taken, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.samples import read_batch
from dtrak_stream.data.trajectories import Trajectory, TrajectoryFolder
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.features.options import FeatureOptions, used_options
from dtrak_stream.features.path_features import AVERAGED, make_trajectory_featurizer
from tests.model.pipelines import PIPELINES
from tests.small_jobs import small_features


@pytest.fixture(scope="module")
def latent_model(tmp_path_factory) -> str:
    return PIPELINES["ldm-kl"].save(tmp_path_factory.mktemp("ldm"))


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((2, 16, 16, 3), np.float32))
    return open_images(str(tmp_path / "images.npy"), None, ImageOptions(float_range="unit"))


def test_drawn_latents_are_other_features_under_another_fingerprint(latent_model, images):
    batch, _ = read_batch(images, range(2))
    found, fingerprints = [], []
    for latents in ("mode", "sample", "sample"):
        featurizer = make_featurizer(latent_model, small_features(latents=latents))
        found.append(featurizer.features(batch))
        fingerprints.append(featurizer.fingerprints(images, "float32", 2)[0].hash())
    assert fingerprints[0] != fingerprints[1] == fingerprints[2]
    assert found[1].equal(found[2])
    assert not found[0].allclose(found[1])


def test_weights_of_the_first_stage_need_memory_too(latent_model, model_folder):
    featurizer = make_featurizer(latent_model, small_features())
    denoiser = featurizer.task.denoiser
    network = 4 * sum(each.numel() for each in denoiser.network.parameters())
    assert denoiser.first_stage is not None
    assert featurizer.weight_bytes == network + denoiser.first_stage.weight_bytes
    assert denoiser.first_stage.weight_bytes > 0


def test_sampling_paths_are_refused_for_a_model_of_latents(latent_model, tmp_path):
    paths = np.zeros((2, 3, 16, 16), np.float32)
    folder = TrajectoryFolder(tmp_path)
    folder.save(0, Trajectory(np.array([500, 0]), paths, paths, "0"))
    options = small_features(output_function=AVERAGED)
    with pytest.raises(
        ConfigurationError, match=r"trajectory\(averaged\): is not defined here for"
    ):
        make_trajectory_featurizer(latent_model, options, folder)


def test_features_without_a_model_have_no_latents(capsys):
    options = used_options(FeatureOptions(output_function="pixels", latents="sample"))
    assert options.latents == "mode"
    assert "--latents: not used, pixels features are no gradients" in capsys.readouterr().err
