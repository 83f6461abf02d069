"""Loading models, and refusing folders that hold none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from dtrak_stream.errors import InputError, ModelError
from dtrak_stream.model.loading import load_denoiser
from tests.conftest import build_unet, save_model


def test_loaded_model_predicts_what_the_saved_one_did(tmp_path):
    unet = build_unet().eval()
    denoiser = load_denoiser(save_model(tmp_path / "m", unet))
    noisy, timesteps = torch.randn(2, 1, 8, 8), torch.tensor([3, 900])
    expected = unet(noisy, timesteps).sample
    torch.testing.assert_close(denoiser.predict(noisy, timesteps), expected)
    assert str(denoiser.image_shape) == "1x8x8"
    assert not denoiser.network.training


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


def test_an_index_that_names_no_parts_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(InputError, match="is no index of parts"):
        load_denoiser(str(tmp_path))
