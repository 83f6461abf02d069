"""What generation refuses: other runs, other folders, models and options that cannot be."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image

from dtrak_stream.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InputError,
    ModelError,
)
from dtrak_stream.generation.run import generate
from tests.generation.small_runs import config_of, save_model


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"steps": 5}, "steps"),
        ({"sampler": "ddpm"}, "sampler"),
        ({"eta": 0.5}, "eta"),
        ({"count": 4}, "count"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(model, tmp_path, changes, field):
    config = config_of(model, tmp_path)
    generate(config, visible=False)
    with pytest.raises(FingerprintMismatchError, match=r"stored .* requested") as refused:
        generate(dataclasses.replace(config, **changes), visible=False)
    assert refused.value.field == field


def test_another_model_is_refused(model, tmp_path):
    generate(config_of(model, tmp_path / "out"), visible=False)
    other = shutil.copytree(model, tmp_path / "other")
    unet = UNet2DModel.from_pretrained(other, subfolder="unet")
    torch.nn.init.zeros_(unet.conv_in.bias[:1])
    unet.save_pretrained(other / "unet")
    with pytest.raises(FingerprintMismatchError, match="weights differs"):
        generate(config_of(str(other), tmp_path / "out"), visible=False)


def test_folder_with_foreign_images_is_refused(model, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match=r"holds photo\.png, and no fingerprint\.json"):
        generate(config_of(model, tmp_path), visible=False)


def test_missing_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone: no such folder"):
        generate(config_of(str(tmp_path / "gone"), tmp_path / "out"), visible=False)
    assert not (tmp_path / "out").exists()


def test_model_without_safetensors_is_refused(model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        generate(config_of(str(bare), tmp_path / "out"), visible=False)


def test_model_that_gives_nan_is_refused(model, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    unet = UNet2DModel.from_pretrained(broken, subfolder="unet")
    torch.nn.init.constant_(unet.conv_out.bias, float("nan"))
    unet.save_pretrained(broken / "unet")
    with pytest.raises(ModelError, match="not finite"):
        generate(config_of(str(broken), tmp_path / "out"), visible=False)
    assert not list((tmp_path / "out").glob("*.png"))


def test_channels_that_png_cannot_hold_are_refused(tmp_path):
    model = save_model(tmp_path / "model", channels=2)
    with pytest.raises(ModelError, match="2x8x8"):
        generate(config_of(model, tmp_path / "out"), visible=False)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"count": 0}, "--count"),
        ({"steps": 0}, "--steps"),
        ({"seed": -1}, "--seed"),
        ({"batch_size": 0}, "--batch-size"),
        ({"eta": 1.5}, "--eta"),
        ({"eta": 0.5, "sampler": "ddpm"}, "--eta"),
        ({"steps": 1001}, "--steps"),
    ],
)
def test_unsupported_option_is_refused_by_its_flag(model, tmp_path, changes, flag):
    with pytest.raises(ConfigurationError, match=flag):
        generate(config_of(model, tmp_path / "out", **changes), visible=False)
