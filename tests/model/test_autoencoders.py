"""First stages: what images become before noise is mixed in, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from safetensors.torch import load_file

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, InputError, ModelError
from dtrak_stream.model import autoencoders
from dtrak_stream.model.autoencoders import Autoencoder
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from tests.model.folders import WEIGHTS, editing, editing_weights
from tests.model.pipelines import autoencoder_kl, latent_unet, save_dit, save_ldm, vq_model

DRAWN = LoadingOptions("sample")


def images_of(count: int = 3, channels: int = 3, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, channels, size, size, generator=generator) * 2 - 1


def latents_of(folder: str, options: LoadingOptions | None = None, ids="abc") -> torch.Tensor:
    denoiser = load_denoiser(folder, options)
    return denoiser.encoded(SampleBatch(tuple(ids), images_of(len(ids)))).tensors


def folder_of_kl(folder: Path, **options: Any) -> str:
    return save_ldm(folder, autoencoder_kl(**options), latent_unet(4))


@pytest.fixture(scope="module")
def kl(tmp_path_factory) -> str:
    return folder_of_kl(tmp_path_factory.mktemp("kl"))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=5e-6)


@torch.no_grad()
@pytest.mark.parametrize("shift", [None, 0.3])
def test_images_become_the_mode_of_their_posterior_shifted_and_scaled(tmp_path, shift):
    folder = folder_of_kl(tmp_path, scaling_factor=0.7, shift_factor=shift)
    vae = AutoencoderKL.from_pretrained(f"{folder}/vqvae").double()
    mean = vae.encode(images_of().double()).latent_dist.mode()
    close(latents_of(folder), (mean - (shift or 0)) * 0.7)


@torch.no_grad()
def test_a_mean_and_spread_for_each_channel_are_taken_off(tmp_path):
    mean, spread = [0.1, 0.2, -0.3, 0.0], [1.5, 0.5, 2.0, 1.0]
    folder = folder_of_kl(tmp_path, scaling_factor=0.7, latents_mean=mean, latents_std=spread)
    vae = AutoencoderKL.from_pretrained(f"{folder}/vqvae").double()
    found = vae.encode(images_of().double()).latent_dist.mode().movedim(1, -1)
    expected = (found - torch.tensor(mean).double()) * 0.7 / torch.tensor(spread).double()
    close(latents_of(folder), expected.movedim(-1, 1))


@torch.no_grad()
def test_a_vector_quantised_model_gives_what_it_has_before_quantisation(tmp_path):
    folder = save_ldm(tmp_path, vq_model(scaling_factor=0.4))
    vae = VQModel.from_pretrained(f"{folder}/vqvae").double()
    expected = vae.encode(images_of().double()).latents * 0.4
    close(latents_of(folder), expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_latents_are_decoded_as_the_pipeline_decodes_them(tmp_path, kind):
    is_kl = kind == "kl"
    vae = autoencoder_kl(shift_factor=0.2) if is_kl else vq_model()
    folder = save_ldm(tmp_path, vae, latent_unet(4 if is_kl else 3))
    latents = torch.randn(2, 4 if is_kl else 3, 8, 8)
    expected = vae.double().eval().decode(latents.double() / 0.18215 + (0.2 if is_kl else 0)).sample
    stage = load_denoiser(folder).first_stage
    assert stage is not None
    close(stage.images(latents), expected)


@torch.no_grad()
def test_drawn_latents_belong_to_their_sample(kl):
    found = latents_of(kl, DRAWN)
    assert torch.equal(found[1], latents_of(kl, DRAWN, "abd")[1])
    close(latents_of(kl, DRAWN, "xbx")[1], found[1].double())
    assert not torch.allclose(found, latents_of(kl, DRAWN, "bca"))
    assert not torch.allclose(found, latents_of(kl, LoadingOptions("sample", seed=1)))
    vae = AutoencoderKL.from_pretrained(f"{kl}/vqvae").double()
    posterior = vae.encode(images_of().double()).latent_dist
    noise = (found.double() / 0.18215 - posterior.mean) / posterior.std
    assert noise.mean().abs() < 0.15
    assert 0.85 < noise.std() < 1.15


def test_images_are_as_much_larger_than_latents_as_the_blocks_halve_them(kl):
    denoiser = load_denoiser(kl)
    assert denoiser.image_shape == ImageShape(3, 16, 16)
    assert denoiser.sample_shape == ImageShape(4, 8, 8)
    assert "of 3x16x16 samples, latents 4x8x8 (AutoencoderKL, scaled by 0.18215)," in (
        denoiser.description
    )
    with pytest.raises(ConfigurationError, match="images of 3x12x16, and 3x16x16 are encoded here"):
        denoiser.encoded(SampleBatch(("a",), torch.zeros(1, 3, 12, 16)))


def test_images_are_encoded_in_blocks(kl, monkeypatch):
    whole = latents_of(kl, DRAWN)
    monkeypatch.setattr(autoencoders, "_WIDEST_BYTES", 1)
    seen = []
    encoded = autoencoders.Autoencoder._encoded

    def watched(self, images, ids):
        seen.append(tuple(ids))
        return encoded(self, images, ids)

    monkeypatch.setattr(autoencoders.Autoencoder, "_encoded", watched)
    torch.testing.assert_close(latents_of(kl, DRAWN), whole)
    assert seen == [("a",), ("b",), ("c",)]


def test_nothing_of_an_autoencoder_has_gradients(kl):
    stage = cast(Autoencoder, load_denoiser(kl).first_stage)
    assert not latents_of(kl).requires_grad
    assert not any(each.requires_grad for each in stage.network.parameters())
    assert not stage.network.training


def test_what_decides_latents_is_in_the_identity(kl, tmp_path):
    found = load_denoiser(kl).identity
    assert found != load_denoiser(kl, DRAWN).identity
    assert (
        load_denoiser(kl, DRAWN).identity != load_denoiser(kl, LoadingOptions("sample", 1)).identity
    )
    assert found != load_denoiser(folder_of_kl(tmp_path / "a", scaling_factor=0.2)).identity
    other = folder_of_kl(tmp_path / "b")
    assert load_denoiser(other).identity == found
    with editing_weights(Path(other) / "vqvae") as weights:
        weights["decoder.conv_in.bias"] += 1
    assert load_denoiser(other).identity == found  # whatever is decoded from them
    with editing_weights(Path(other) / "vqvae") as weights:
        weights["encoder.conv_in.bias"] += 1
    assert load_denoiser(other).identity != found


def test_weights_kept_in_float16_run_in_float32_and_it_is_said(tmp_path):
    folder = folder_of_kl(tmp_path)
    exact = latents_of(folder)
    vae = AutoencoderKL.from_pretrained(f"{folder}/vqvae").half()
    vae.save_pretrained(f"{folder}/vqvae")
    kept = load_file(f"{folder}/vqvae/{WEIGHTS}")
    assert kept["encoder.conv_in.weight"].dtype == torch.float16
    denoiser = load_denoiser(folder)
    assert "kept in float16 and run in float32)" in denoiser.description
    found = latents_of(folder)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-2, atol=1e-3)
    close(found, vae.double().encode(images_of().double()).latent_dist.mode() * 0.18215)


def test_attention_under_its_first_names_is_read(tmp_path):
    """The autoencoders of Stable Diffusion 1 were saved with these."""
    folder = folder_of_kl(tmp_path)
    expected = latents_of(folder)
    first = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    with editing_weights(Path(folder) / "vqvae") as weights:
        for name in list(weights):
            for newer, older in first.items():
                if f"attentions.0.{newer}." in name:
                    weights[name.replace(newer, older)] = weights.pop(name)
        assert any("proj_attn" in name for name in weights)
    assert torch.equal(latents_of(folder), expected)


def test_a_vae_with_other_channels_is_refused(tmp_path):
    folder = save_ldm(tmp_path, autoencoder_kl(latents=4), latent_unet(3))
    with pytest.raises(ModelError) as refusal:
        load_denoiser(folder)
    assert str(refusal.value) == (
        f"{folder}/vqvae/config.json: VAE with other channels: its latents have 4, and the network "
        "takes 3; give the vae that the model was trained with"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"latents_mean": [0.0] * 4}, "has one of latents_mean and latents_std"),
        ({"latents_mean": [0.0] * 3, "latents_std": [1.0] * 3}, "are not of 4 channels"),
        (
            {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "shift_factor": 0.1},
            "has a shift_factor and latents_mean",
        ),
        ({"scaling_factor": 0}, "scaling_factor or latents_std is 0"),
        ({"latents_mean": [0.0] * 4, "latents_std": [0.0] * 4}, "scaling_factor or latents_std"),
        ({"rotation": 3}, "unknown option rotation: 3"),
    ],
)
def test_scaling_that_is_not_understood_is_refused(kl, change, problem):
    path = Path(kl) / "vqvae" / "config.json"
    before = path.read_text()
    try:
        with editing(path) as config:
            config |= change
        with pytest.raises(ModelError, match=problem):
            load_denoiser(kl)
    finally:
        path.write_text(before)


def test_weights_that_are_missing_or_not_finite_are_refused(tmp_path):
    folder = folder_of_kl(tmp_path)
    with editing_weights(Path(folder) / "vqvae") as weights:
        weights["encoder.conv_in.bias"][0] = float("nan")
    with pytest.raises(ModelError, match=r"vqvae: 1 of its weights .* encoder\.conv_in\.bias"):
        load_denoiser(folder)
    with editing_weights(Path(folder) / "vqvae") as weights:
        del weights["encoder.conv_in.bias"]
    with pytest.raises(ModelError, match=r"vqvae: the files lack 1 of the network's weights"):
        load_denoiser(folder)


def test_other_parts_in_its_place_are_refused(tmp_path):
    folder = Path(folder_of_kl(tmp_path))
    with editing(folder / "model_index.json") as index:
        index["vqvae"] = ["diffusers", "AutoencoderTiny"]
    with pytest.raises(
        ModelError, match="vqvae: of class AutoencoderTiny, which nothing is known of"
    ):
        load_denoiser(str(folder))
    with editing(folder / "model_index.json") as index:
        index["vqvae"] = index["vae"] = ["diffusers", "AutoencoderKL"]
    with pytest.raises(ModelError, match="has a vae and a vqvae"):
        load_denoiser(str(folder))


def test_a_transformer_of_latents_without_its_vae_is_refused(tmp_path):
    folder = Path(save_dit(tmp_path))
    with editing(folder / "model_index.json") as index:
        del index["vae"]
    with pytest.raises(ModelError, match="there is no vae that makes them of images"):
        load_denoiser(str(folder))


def test_latents_are_drawn_only_where_there_is_something_to_draw_from(tmp_path, model_folder):
    with pytest.raises(ConfigurationError, match="--latents sample: the model has no latents"):
        load_denoiser(model_folder, DRAWN)
    with pytest.raises(ConfigurationError, match="a VQModel gives one latent for an image"):
        load_denoiser(save_ldm(tmp_path), DRAWN)


def test_a_vae_that_is_named_and_not_there_is_refused(tmp_path):
    folder = Path(folder_of_kl(tmp_path))
    shutil.rmtree(folder / "vqvae")
    with pytest.raises(InputError, match=r"vqvae/config\.json: is not there: a configuration of"):
        load_denoiser(str(folder))
