"""Loading models, and refusing folders that hold none."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dtrak_stream.errors import InputError, ModelError
from dtrak_stream.model import families, loading
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_model_knows_what_it_is_and_where_it_came_from(model_folder, dtype):
    denoiser = load_denoiser(model_folder, dtype=dtype)
    assert {parameter.dtype for parameter in denoiser.network.parameters()} == {dtype}
    assert (denoiser.class_name, denoiser.folder) == ("UNet2DModel", model_folder)
    assert denoiser.schedule.num_timesteps == 1000
    assert denoiser.scheduler_config["beta_schedule"] == "linear"
    assert denoiser.device == torch.device("cpu")


def test_a_model_is_put_where_it_is_wanted(model_folder, monkeypatch):
    # nothing can be asked on this device: it holds no numbers
    monkeypatch.setattr(loading, "refuse_unlike_model", lambda *_: None)
    assert load_denoiser(model_folder, device="meta").device.type == "meta"


def refused(folder, kind, what):
    """Load what must be refused with a line that begins so."""
    with pytest.raises(kind) as refusal:
        load_denoiser(str(folder))
    assert str(refusal.value).startswith(what), str(refusal.value)


@pytest.fixture
def copied(tmp_path, model_folder):
    return Path(shutil.copytree(model_folder, tmp_path / "m"))


def test_missing_folder_is_refused(tmp_path):
    folder = tmp_path / "nowhere"
    refused(folder, InputError, f"{folder}: no such folder; give a diffusers pipeline folder, as ")


def test_folder_without_an_index_is_refused(tmp_path):
    refused(tmp_path, InputError, f"{tmp_path}: no model_index.json; give a diffusers pipeline")


def test_model_without_known_weights_is_refused(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.ckpt"))
    what = f"{copied / 'unet'}: no weights in safetensors format, only files that run as programs "
    refused(copied, ModelError, what + "when opened; where you trust them, load them once and ")


def pickled(copied, **more):
    """Replace the weights by a pickle of them, and of more."""
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    state = safetensors.torch.load_file(weights)
    torch.save(state | more, weights.with_suffix(".bin"))
    weights.unlink()


def test_pickled_tensors_are_read_by_the_loader_of_weights_alone(copied, model_folder):
    plain = load_denoiser(model_folder)
    pickled(copied)
    denoiser = load_denoiser(str(copied))
    assert denoiser.description.endswith(", from .bin files by torch's loader of weights alone")
    for name, weight in plain.network.state_dict().items():
        assert torch.equal(denoiser.network.state_dict()[name], weight)


class Program:
    """What a pickle runs when it is opened."""

    def __reduce__(self):
        return print, ("a program runs",)


def test_a_pickle_that_holds_a_program_is_refused_and_not_run(copied, capsys):
    pickled(copied, extra=Program())
    refused(copied, ModelError, f"{copied / 'unet' / 'diffusion_pytorch_model.bin'}: holds objects")
    assert "program runs" not in capsys.readouterr().out


def test_truncated_weights_are_refused(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(copied, ModelError, f"{copied / 'unet'}: cannot be loaded (")
    with pytest.raises(ModelError, match=r"[^ ]\); check that the folder is complete, or save"):
        load_denoiser(str(copied))


def test_a_long_failure_of_a_library_is_cut_and_put_on_one_line(copied, monkeypatch):
    def failing(*_):
        raise ValueError("first\nsecond " + "x" * 400)

    row = dataclasses.replace(families.FAMILIES[0], outline=failing)
    monkeypatch.setattr(families, "FAMILIES", (row,))
    told = f"first second {'x' * (300 - len('first second '))}"
    refused(
        copied, ModelError, f"{copied / 'unet'}: cannot be loaded (ValueError: {told}); check that "
    )


def test_a_refusal_of_our_own_is_not_explained_again(copied):
    config = json.loads((copied / "scheduler" / "scheduler_config.json").read_text())
    config["prediction_type"] = "score"
    (copied / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    path = copied / "scheduler" / "scheduler_config.json"
    refused(copied, ModelError, f"{path}: unknown prediction type 'score'; use one ")


def test_unknown_denoiser_class_is_refused_by_name(copied):
    index = json.loads((copied / "model_index.json").read_text())
    index["unet"] = ["diffusers", "UNet9DModel"]
    (copied / "model_index.json").write_text(json.dumps(index))
    what = f"{copied / 'model_index.json'}: unknown denoiser class UNet9DModel; give a pipeline "
    refused(copied, ModelError, what + "whose denoiser is one of: UNet2DModel")


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"transformer": ["diffusers", "PixArt"]}, "PixArt"),
        ({"unet": ["UNet2DModel"]}, "None"),
        ({"unet": "UNet2DModel"}, "None"),
        ({"unet": ["diffusers", "UNet2DModel", "more"]}, "None"),
        ({}, "None"),
    ],
)
def test_an_index_without_a_network_of_ours_is_refused(tmp_path, entry, found):
    (tmp_path / "model_index.json").write_text(json.dumps(entry))
    what = f"{tmp_path / 'model_index.json'}: unknown denoiser class {found}; give"
    refused(tmp_path, ModelError, what)


def test_unreadable_index_is_refused(tmp_path):
    path = tmp_path / "model_index.json"
    path.write_text("{")
    refused(tmp_path, InputError, f"{path}: not readable as JSON (Expecting property name")
    with pytest.raises(InputError, match=r"\); save the pipeline again$"):
        load_denoiser(str(tmp_path))


def test_an_index_that_names_no_parts_is_refused(tmp_path):
    path = tmp_path / "model_index.json"
    path.write_text("[]")
    refused(tmp_path, InputError, f"{path}: is no index of parts; save the pipeline again")
