"""Models that do not fit what is given with them: one line, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dtrak_stream.cli.command_line import EXIT_REFUSED
from tests.attribution.jobs import job
from tests.commands_here import run_command
from tests.conftest import save_model
from tests.model.folders import editing, unet_with
from tests.model.pipelines import autoencoder_kl, save_ldm
from tests.model.text_pipelines import SIZE, stable_diffusion
from tests.small_jobs import flags, random_pixels, save_images


@pytest.fixture(scope="module")
def gray(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("gray")
    for name in ("train", "query"):
        save_images(root / name, random_pixels(2))
    return root / "train", root / "query"


def refusal_of(model: object, sources: tuple[Path, Path], run: Path, *words: str) -> str:
    """Return the last line of what the command says, which it has to refuse."""
    config = job(str(model), sources, run)
    told = run_command("attribute", *flags(config), *words)
    assert (told.code, told.stdout) == (EXIT_REFUSED, "")
    assert not run.exists()
    *_, line = told.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def of_classes(folder: Path, names: str) -> Path:
    for number, name in enumerate(names):
        save_images(folder / name, random_pixels(2, seed=number))
    return folder


@pytest.mark.parametrize("side", ["train", "query"])
def test_labels_outside_the_classes_of_the_model_are_counted_before_any_work(
    tmp_path, labelled, side
):
    train = of_classes(tmp_path / "train", "abcdef" if side == "train" else "abcd")
    query = of_classes(tmp_path / "query", "abcdef" if side == "query" else "abcd")
    line = refusal_of(labelled, (train, query), tmp_path / "run")
    assert f"{tmp_path / side}: 4 images have a class label in " in line
    assert "that the model does not know (e/000.png, e/001.png, f/000.png, ...): 4 is not" in line
    assert "0 to 3; give the labels that the model was trained with (--label-column)" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_train_timesteps": 0}, "(num_train_timesteps: 0)"),
        ({"num_train_timesteps": 0, "trained_betas": []}, "(num_train_timesteps: 0)"),
        ({"trained_betas": []}, "(trained_betas: [])"),
    ],
)
def test_a_scheduler_without_noise_levels_is_refused(tmp_path, gray, change, said):
    model = Path(save_model(tmp_path / "model", unet_with()))
    with editing(model / "scheduler" / "scheduler_config.json") as config:
        config.update(change)
    line = refusal_of(model, gray, tmp_path / "run")
    assert f"scheduler_config.json: a scheduler without noise levels {said}; " in line


def test_a_vae_with_other_channels_is_refused(tmp_path, gray):
    model = save_ldm(tmp_path / "model", autoencoder_kl(latents=4))
    line = refusal_of(model, gray, tmp_path / "run")
    assert "VAE with other channels: its latents have 4, and the network takes 3" in line


@pytest.fixture(scope="module")
def told_captions(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("sd")
    stable_diffusion(folder)
    return folder / "pipeline"


def test_a_model_of_captions_is_refused_images_without(tmp_path, told_captions):
    black = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    for name in ("train", "query"):
        save_images(tmp_path / name, black)
    sources = tmp_path / "train", tmp_path / "query"
    line = refusal_of(told_captions, sources, tmp_path / "run")
    assert "the model is told captions, and none are found" in line
    assert "--caption-column" in line


def test_a_conditional_network_without_a_text_encoder_is_refused(tmp_path, told_captions, gray):
    model = tmp_path / "model"
    model.mkdir()
    for part in ("unet", "vae", "scheduler"):
        (model / part).symlink_to(told_captions / part)
    index = json.loads((told_captions / "model_index.json").read_text())
    left = {name: part for name, part in index.items() if not name.startswith(("text", "token"))}
    (model / "model_index.json").write_text(json.dumps(left))
    line = refusal_of(model, gray, tmp_path / "run")
    assert "has no tokenizer, which the captions of a UNet2DConditionModel are read by" in line


def lora(path: Path, width: int) -> str:
    """Write a LoRA on the attention to texts of that width."""
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    factors = {"lora_A": torch.ones(2, width), "lora_B": torch.ones(16, 2)}
    save_file({f"{layer}.{name}.weight": each for name, each in factors.items()}, path)
    return str(path)


def test_a_lora_on_a_model_without_attention_is_refused(tmp_path, gray):
    plain = unet_with(
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        add_attention=False,
    )
    model = save_model(tmp_path / "model", plain)
    given = "--lora", lora(tmp_path / "lora.safetensors", 8)
    line = refusal_of(model, gray, tmp_path / "run", *given)
    assert "1 of its 1 layers are none of unet: " in line
    assert "(this UNet2DModel has no attention at all); give a LoRA that was trained on" in line


def test_a_lora_of_another_base_is_refused(tmp_path, told_captions, gray):
    given = "--lora", lora(tmp_path / "lora.safetensors", 20)
    line = refusal_of(told_captions, gray, tmp_path / "run", *given)
    assert "is for another base: " in line
