"""Loading models, noising images, choosing parameters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler

from dtrak_stream.errors import ConfigurationError, InputError, ModelError
from dtrak_stream.model.loading import choose_parameters, load_denoiser, weights_hash
from tests.conftest import build_unet, save_model


def test_loaded_model_predicts_what_the_saved_one_did(tmp_path):
    unet = build_unet().eval()
    denoiser = load_denoiser(save_model(tmp_path / "m", unet))
    noisy, timesteps = torch.randn(2, 1, 8, 8), torch.tensor([3, 900])
    expected = unet(noisy, timesteps).sample
    torch.testing.assert_close(denoiser.predict(noisy, timesteps), expected)
    assert str(denoiser.image_shape) == "1x8x8"
    assert not denoiser.network.training


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_noisy_images_and_targets_are_those_of_the_scheduler(tmp_path, prediction_type):
    folder = save_model(tmp_path / "m", build_unet(), prediction_type)
    schedule = load_denoiser(folder).schedule
    image, noise = torch.randn(2, 3, 1, 8, 8, dtype=torch.float64)
    timesteps = torch.tensor([0, 400, 999])
    reference = DDPMScheduler()
    noisy, target = schedule.noisy_and_target(image, noise, timesteps)
    torch.testing.assert_close(
        noisy, reference.add_noise(image, noise, timesteps), rtol=1e-5, atol=1e-6
    )
    expected = {
        "epsilon": noise,
        "v_prediction": reference.get_velocity(image, noise, timesteps),
        "sample": image,
    }[prediction_type]
    torch.testing.assert_close(target, expected, rtol=1e-5, atol=1e-6)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no such folder.*give a diffusers pipeline"):
        load_denoiser(str(tmp_path / "nowhere"))


def test_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no model_index\.json"):
        load_denoiser(str(tmp_path))


def test_model_without_safetensors_is_refused(tmp_path, model_folder):
    folder = Path(shutil.copytree(model_folder, tmp_path / "m"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(ModelError, match=r"no weights in safetensors.*safe_serialization"):
        load_denoiser(str(folder))


def test_truncated_weights_are_refused(tmp_path, model_folder):
    folder = Path(shutil.copytree(model_folder, tmp_path / "m"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_denoiser(str(folder))


def test_unknown_denoiser_class_is_refused_by_name(tmp_path, model_folder):
    folder = Path(shutil.copytree(model_folder, tmp_path / "m"))
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["diffusers", "UNet9DModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"UNet9DModel.*UNet2DModel"):
        load_denoiser(str(folder))


def test_unreadable_index_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        load_denoiser(str(tmp_path))


def test_all_parameters_are_chosen_in_their_order():
    unet = build_unet()
    assert list(choose_parameters(unet, "all")) == [n for n, _ in unet.named_parameters()]


def test_a_regular_expression_chooses_and_the_rest_is_frozen():
    unet = build_unet()
    chosen = choose_parameters(unet, r"attentions.*weight$")
    assert chosen
    assert all("attentions" in name and name.endswith("weight") for name in chosen)
    assert {n for n, p in unet.named_parameters() if p.requires_grad} == set(chosen)


@pytest.mark.parametrize("choice", ["lora", "no such name", "("])
def test_a_choice_without_parameters_is_refused(choice):
    with pytest.raises(ConfigurationError, match="--parameters"):
        choose_parameters(build_unet(), choice)


def test_weights_hash_sees_one_changed_bit():
    first, second = build_unet(), build_unet()
    assert weights_hash(first) == weights_hash(second)
    with torch.no_grad():
        bias = next(p for n, p in second.named_parameters() if n == "conv_in.bias")
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    assert weights_hash(first) != weights_hash(second)
