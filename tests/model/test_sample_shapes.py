"""Images of another size than the folder of a model says are taken where its network can."""

from __future__ import annotations

import pytest

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.features.gradient_features import make_task
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from tests.model.folders import editing, pipeline, unet_with
from tests.model.pipelines import autoencoder_kl, latent_unet, save_dit, save_ldm
from tests.model.text_pipelines import stable_diffusion


def sized(size: int) -> LoadingOptions:
    return LoadingOptions(size=size)


def test_a_model_of_pixels_is_asked_about_images_of_the_size_that_is_given(tmp_path):
    folder = str(pipeline(tmp_path, unet_with(sample_size=8)))
    denoiser = load_denoiser(folder, sized(12))
    assert denoiser.image_shape == denoiser.sample_shape == ImageShape(1, 12, 12)
    with pytest.raises(ConfigurationError, match=r"samples 9 wide.*cannot be halved"):
        load_denoiser(folder, sized(9))


def test_a_model_of_latents_is_asked_about_latents_of_images_of_that_size(tmp_path):
    folder = save_ldm(tmp_path, autoencoder_kl(), latent_unet(4))
    denoiser = load_denoiser(folder, sized(24))
    assert denoiser.image_shape == ImageShape(3, 24, 24)
    assert denoiser.sample_shape == ImageShape(4, 12, 12)
    with pytest.raises(ConfigurationError, match=r"--size 25.*give a multiple of 2"):
        load_denoiser(folder, sized(25))


def test_a_size_that_the_folder_does_not_say_can_be_given(tmp_path):
    stable_diffusion(tmp_path)
    folder = tmp_path / "pipeline"
    with editing(folder / "unet" / "config.json") as config:
        config["sample_size"] = None
    with pytest.raises(ModelError, match=r"sample_size None.*--size"):
        load_denoiser(str(folder))
    assert load_denoiser(str(folder), sized(32)).sample_shape == ImageShape(4, 16, 16)


def test_a_transformer_that_knows_its_patches_by_their_places_keeps_its_size(tmp_path):
    folder = save_dit(tmp_path)
    assert load_denoiser(folder, sized(16)).sample_shape == ImageShape(4, 8, 8)
    with pytest.raises(ConfigurationError, match=r"latents 16 wide.*DiT.*are those of 8.*leave it"):
        load_denoiser(folder, sized(32))


def test_the_size_of_features_reaches_the_model(tmp_path):
    folder = str(pipeline(tmp_path, unet_with(sample_size=8)))
    task = make_task(folder, FeatureOptions(size=16, device="cpu"))
    assert task.denoiser.image_shape == ImageShape(1, 16, 16)
