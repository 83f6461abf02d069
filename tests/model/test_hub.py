"""Models named as on the hub: from its cache, from the hub, or refused where neither has them."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from dtrak_stream.errors import InputError, ModelError
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.places import hub_name
from tests.model.folders import editing, pipeline


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("saved")
    return pipeline(folder, num_train_timesteps=20)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A working folder, and a cache of the hub, with nothing in them."""
    monkeypatch.chdir(tmp_path)
    cache: Path = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    return cache


def cached(cache: Path, name: str, model: Path) -> None:
    """Leave a model in the cache as a download does."""
    folder = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, folder / "snapshots" / ("0" * 40))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)


@pytest.mark.parametrize("name", ["someone/tiny", "hf:someone/tiny"])
def test_a_model_in_the_cache_is_found_without_a_network(elsewhere, saved, name):
    cached(elsewhere, "someone/tiny", saved)
    found, expected = load_denoiser(name), load_denoiser(str(saved))
    assert found.description.startswith(f"{name}: UNet2DModel of 1x8x8")
    for mine, theirs in zip(found.network.parameters(), expected.network.parameters()):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", ["someone/other", "hf:someone/other"])
def test_a_model_that_neither_cache_nor_hub_has_is_refused_with_a_way_round(elsewhere, name):
    with pytest.raises(InputError, match=r"hub cannot be reached.*hf download someone/other"):
        load_denoiser(name)


@pytest.fixture
def downloads(saved, elsewhere, monkeypatch) -> list[str]:
    """A hub that has one model, and the files that were asked of it."""
    asked: list[str] = []

    def download(name, *, allow_patterns):
        for path in sorted(saved.rglob("*")):
            inside = path.relative_to(saved).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(inside, each) for each in allow_patterns):
                asked.append(inside)
                place = elsewhere / name / inside
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        return str(elsewhere / name)

    def listed(name):
        return [path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", listed)
    return asked


def test_a_model_of_the_hub_is_downloaded_with_the_weights_of_its_network_only(downloads, saved):
    assert load_denoiser("someone/tiny").image_shape == load_denoiser(str(saved)).image_shape
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert [name for name in downloads if name.endswith(".safetensors")] == [weights]


def test_of_several_kinds_of_weights_those_that_are_read_are_downloaded(downloads, saved):
    weights = "unet/diffusion_pytorch_model.safetensors"
    further = [
        saved / "unet" / f"diffusion_pytorch_model.{kind}"
        for kind in ("fp16.safetensors", "bin", "fp16-00001-of-00002.safetensors")
    ]
    for path in further:
        path.write_bytes(b"other weights")
    try:
        load_denoiser("someone/several")
    finally:
        for path in further:
            path.unlink()
    assert [name for name in downloads if not name.endswith(".json")] == [weights]


def test_pickled_weights_are_downloaded_where_there_are_no_others(downloads, saved):
    path = saved / "unet" / "diffusion_pytorch_model.safetensors"
    pickled, aside = path.with_suffix(".bin"), path.rename(saved.parent / "aside")
    torch.save(load_file(aside), pickled)
    try:
        assert ", from .bin files" in load_denoiser("someone/older").description
    finally:
        pickled.unlink()
        aside.rename(path)
    assert "unet/diffusion_pytorch_model.bin" in downloads


def test_a_lora_of_the_hub_is_downloaded_and_of_its_weights_those_that_are_read(
    downloads, saved, elsewhere, model_folder
):
    factors = {"lora_A": torch.ones(2, 16), "lora_B": torch.ones(16, 2)}
    layer = "unet.down_blocks.1.attentions.0.to_q"
    weights = {f"{layer}.{name}.weight": each for name, each in factors.items()}
    path = saved / "pytorch_lora_weights.safetensors"
    save_file(weights, path)
    (saved / "pytorch_lora_weights.bin").write_bytes(b"older")
    options = LoadingOptions(loras=(LoraOptions("hf:someone/lora", some_layers=True),))
    try:
        denoiser = load_denoiser(model_folder, options)
    finally:
        path.unlink()
        (saved / "pytorch_lora_weights.bin").unlink()
    names = [name for name, _ in denoiser.network.named_parameters() if "lora_A" in name]
    assert [name.partition(".lora_A")[0] for name in names] == [layer.removeprefix("unet.")]
    assert [name for name in downloads if "lora" in name] == [path.name]
    with pytest.raises(InputError, match="hf:lora: is no name of a model on the hub"):
        load_denoiser(model_folder, LoadingOptions(loras=(LoraOptions("hf:lora"),)))


def test_weights_of_what_is_refused_are_not_downloaded(downloads, saved, tmp_path, monkeypatch):
    with editing(saved / "model_index.json") as index:
        index["text_encoder"] = ["transformers", "CLIPTextModel"]
    try:
        with pytest.raises(ModelError, match=r"has a text_encoder"):
            load_denoiser("hf:someone/latent")
    finally:
        with editing(saved / "model_index.json") as index:
            del index["text_encoder"]
    assert downloads
    assert not [name for name in downloads if name.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("google/ddpm-cifar10-32", "google/ddpm-cifar10-32"),
        ("hf:google/ddpm-cifar10-32", "google/ddpm-cifar10-32"),
        ("hf:runs/mine", "runs/mine"),
        ("runs/mine", None),
        ("runs/gone", None),
        ("runs", None),
        ("./google/ddpm", None),
        ("/google/ddpm", None),
        ("google/ddpm/unet", None),
        ("embedded:digits_ddpm", None),
    ],
)
def test_a_name_is_one_of_the_hub_unless_a_folder_could_be_meant(elsewhere, model, name):
    Path("runs/mine").mkdir(parents=True)
    assert hub_name(model) == name


def test_what_cannot_be_on_the_hub_is_refused(elsewhere):
    with pytest.raises(InputError, match=r"hf:nobody: is no name .*write hf:OWNER/NAME"):
        load_denoiser("hf:nobody")
