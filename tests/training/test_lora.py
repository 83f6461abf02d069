"""LoRAs that are trained here: what learns, what is saved, and that a stopped run goes on."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from torch.nn import functional as F

from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import read_batch
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError, ModelError
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.model.conditioning import PROMPTS
from dtrak_stream.model.layout import LORA_FILE
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.support.configuration import parse
from dtrak_stream.training.batches import ImageBatches, seed_of
from dtrak_stream.training.configuration import OptimisationOptions
from dtrak_stream.training.lora_configuration import LoraLayerOptions, LoraTrainingConfig
from dtrak_stream.training.lora_layers import LoraLayers
from dtrak_stream.training.lora_run import train_lora
from dtrak_stream.training.optimisation import Optimisation
from tests.model.text_pipelines import SIZE, stable_diffusion, unet
from tests.training.tiny_runs import crash_at, power_cut

CAPTIONS = ("a red cat", "dogs", "9 cats", "a dog")
TARGETS = ("to_q", "to_out.0", "conv1", "ff")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("base")
    stable_diffusion(folder)
    return str(folder / "pipeline")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> str:
    """Twelve images with captions."""
    path = tmp_path_factory.mktemp("images") / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)
    np.savez(path, images=pixels, text=np.array([CAPTIONS[n % 4] for n in range(12)]))
    return f"{path}:images"


def training(images: str, base: str, out: Path) -> LoraTrainingConfig:
    """Three epochs of three steps, a checkpoint after each."""
    return LoraTrainingConfig(
        images=images,
        model=base,
        out=out,
        caption_dropout=0.3,
        device="cpu",
        checkpoint_every=1,
        layers=LoraLayerOptions(rank=2, lora_alpha=3.0, target_modules=TARGETS),
        optimisation=OptimisationOptions(epochs=3, batch_size=5, learning_rate=1e-2),
    )


@pytest.fixture
def config(base, images, tmp_path) -> LoraTrainingConfig:
    return training(images, base, tmp_path / "lora")


@pytest.fixture(scope="module")
def done(base, images, tmp_path_factory) -> LoraTrainingConfig:
    """What was trained without being stopped."""
    torch.set_num_threads(1)
    config = training(images, base, tmp_path_factory.mktemp("done") / "lora")
    train_lora(config, visible=False)
    return config


def lora_bytes(config: LoraTrainingConfig) -> bytes:
    return (train_lora(config, visible=False).path / LORA_FILE).read_bytes()


def losses(config: LoraTrainingConfig) -> list[float]:
    with (config.out / "loss.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("step", [0, 7])
def test_crash_and_restart_give_the_same_bytes(config, done, monkeypatch, step):
    with monkeypatch.context() as patch:
        crash_at(patch, step, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train_lora(config, visible=False)
    assert lora_bytes(config) == lora_bytes(done)
    assert not (config.out / "checkpoint").exists()


def test_latents_that_find_no_room_in_memory_give_the_same_bytes(config, done):
    assert lora_bytes(dataclasses.replace(config, image_cache_mib=0)) == lora_bytes(done)


def test_captions_that_are_dropped_change_what_is_learnt_and_nothing_else(config, done):
    told = dataclasses.replace(config, caption_dropout=0.0)
    assert lora_bytes(told) != lora_bytes(done)
    same = dataclasses.replace(config, out=config.out.with_name("same"))
    assert lora_bytes(same) == lora_bytes(done)


def test_a_step_is_the_gradient_of_the_loss_of_the_training_script(config, images, base):
    """The first one moves the second factors alone, by the learning rate against their signs."""
    config = dataclasses.replace(
        config,
        caption_dropout=0.0,
        optimisation=OptimisationOptions(
            steps=1, batch_size=5, learning_rate=1e-2, warmup_fraction=0.0, weight_decay=0.0
        ),
    )
    train_lora(config, visible=False)
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    opened = open_images(images, conditioned_on="caption", visible=False)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed_of("order", 0)))[:5]
    pixels = torch.stack([opened.image(int(n)) for n in order])
    prompts = [CAPTIONS[int(n) % 4] for n in order]
    tokens = pipeline.tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.mode()
        latents = latents * pipeline.vae.config.scaling_factor
        told = pipeline.text_encoder(tokens)[0]
    torch.manual_seed(seed_of("step", 0))
    timesteps, noise = torch.randint(1000, (5,)), torch.randn(latents.shape)
    noisy = pipeline.scheduler.add_noise(latents, noise, timesteps)
    layers = LoraLayers(pipeline.unet, config.layers, seed_of("weights", 0))
    loss = F.mse_loss(pipeline.unet(noisy, timesteps, told).sample, noise)
    loss.backward()
    assert losses(config)[0] == pytest.approx(loss.item(), rel=1e-5)
    with safe_open(config.out / LORA_FILE, "pt") as file:
        for name, factor in layers.parameters.items():
            saved = file.get_tensor(f"unet.{name.replace('.default', '')}")
            assert factor.grad is not None
            moved = -1e-2 * factor.grad.sign() if ".lora_B." in name else 0
            large = factor.grad.abs() > 1e-4
            assert large.any() or ".lora_A." in name
            torch.testing.assert_close(
                saved[large], (factor.detach() + moved)[large], rtol=1e-3, atol=1e-5
            )


def test_the_file_is_read_by_diffusers_with_rank_and_alpha(done):
    state, _, metadata = StableDiffusionPipeline.lora_state_dict(
        done.out, return_lora_metadata=True, unet_config=None
    )
    assert {name.partition(".")[0] for name in state} == {"unet"}
    assert (metadata["unet.r"], metadata["unet.lora_alpha"]) == (2, 3.0)
    assert all(len(state[name]) == 2 for name in state if ".lora_A." in name)


def test_what_learnt_is_what_is_loaded(done, base):
    denoiser = load_denoiser(base, LoadingOptions(loras=(LoraOptions(str(done.out)),)))
    plain = load_denoiser(base)
    layers = LoraLayers(plain.network, done.layers, seed=0)
    with safe_open(done.out / LORA_FILE, "pt") as file, torch.no_grad():
        for name, factor in layers.parameters.items():
            factor.copy_(file.get_tensor(f"unet.{name.replace('.default', '')}"))
    noisy, told = torch.randn(2, 4, SIZE // 2, SIZE // 2), {PROMPTS: torch.randn(2, 12, 8)}
    times = torch.tensor([10, 900])
    expected = plain.predict(noisy, times, told)
    torch.testing.assert_close(denoiser.predict(noisy, times, told), expected)
    assert not torch.allclose(load_denoiser(base).predict(noisy, times, told), expected)


def test_the_rest_of_the_network_stands_still(config, base, monkeypatch):
    networks = list[Any]()
    made = LoraLayers.__init__

    def noting(self, network, *rest):
        networks.append(network)
        made(self, network, *rest)

    monkeypatch.setattr(LoraLayers, "__init__", noting)
    train_lora(config, visible=False)
    own = {
        name.replace(".base_layer", ""): each
        for name, each in networks[0].state_dict().items()
        if ".lora_" not in name
    }
    before = load_denoiser(base).network.state_dict()
    assert own.keys() == before.keys()
    assert all(torch.equal(own[name], each) for name, each in before.items())


def test_the_loss_of_the_training_images_falls(config, images, base):
    optimisation = dataclasses.replace(config.optimisation, epochs=8)
    train_lora(dataclasses.replace(config, optimisation=optimisation), visible=False)
    lora = LoadingOptions(loras=(LoraOptions(str(config.out)),))
    opened = open_images(images, conditioned_on="caption", visible=False)
    batch, _ = read_batch(opened, range(12))
    options = LossOptions(loss_timesteps="10", loss_draws=1)
    before, after = (
        LossMeter(load_denoiser(base, each), options).of_batch(batch).mean()
        for each in (None, lora)
    )
    assert after < 0.97 * before


def test_dropped_captions_are_drawn_for_each_step(config, images):
    opened = open_images(images, conditioned_on="caption", visible=False)
    batches = ImageBatches(opened, np.arange(12), 12, 0, 2**20, caption_dropout=0.5)
    steps = [batches.batch(step) for step in [*range(40), *range(40)]]
    told = [each.conditions or () for each in steps if each is not None]
    assert told[:40] == told[40:]
    told = told[:40]
    share = np.mean([caption == "" for each in told for caption in each])
    assert 0.4 < share < 0.6
    assert len({tuple(caption == "" for caption in each) for each in told}) > 30


def test_captions_are_what_it_learns_from(config, images, done, tmp_path):
    with np.load(images.removesuffix(":images")) as arrays:
        other = tmp_path / "others.npz"
        np.savez(other, images=arrays["images"], text=arrays["text"][::-1])
    others = dataclasses.replace(config, images=f"{other}:images", out=tmp_path / "others")
    assert lora_bytes(others) != lora_bytes(done)
    with pytest.raises(FingerprintMismatchError, match="image-identity"):
        train_lora(dataclasses.replace(others, out=done.out), visible=False)


def test_another_base_does_not_continue_a_run(done, tmp_path):
    stable_diffusion(tmp_path, block_out_channels=(8, 24))
    other = dataclasses.replace(done, model=str(tmp_path / "pipeline"))
    with pytest.raises(FingerprintMismatchError, match="weights"):
        train_lora(other, visible=False)


def test_recorded_options_give_the_same_run_again(done):
    record = str(done.out / "training.yaml")
    assert parse(LoraTrainingConfig, ["--config", record]) == done


def test_finished_run_is_not_done_again(done, monkeypatch):
    monkeypatch.setattr(Optimisation, "step", lambda *_, **__: power_cut())
    train_lora(done, visible=False)


def test_first_factors_are_those_of_the_seed_on_layers_whose_names_have_the_words():
    network = unet(8)
    before = weights_hash(network)
    layers = LoraLayers(network, LoraLayerOptions(rank=2, target_modules=("attn2.to_k", "ff")), 5)
    again = LoraLayers(unet(8), LoraLayerOptions(rank=2, target_modules=("attn2.to_k", "ff")), 5)
    other = LoraLayers(unet(8), LoraLayerOptions(rank=2, target_modules=("attn2.to_k", "ff")), 6)
    kinds = {name.partition(".lora_")[0].rpartition("blocks.0.")[2] for name in layers.parameters}
    assert kinds == {"attn2.to_k", "ff.net.0.proj", "ff.net.2"}
    assert weights_hash(network) != before
    for name, factor in layers.parameters.items():
        assert torch.equal(factor, again.parameters[name])
        assert torch.equal(factor, other.parameters[name]) == (".lora_B." in name)


def metadata_of(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    told: dict[str, Any] = json.loads(header["__metadata__"]["lora_adapter_metadata"])
    return told


def test_alpha_is_the_rank_unless_it_is_given():
    layers = LoraLayers(unet(8), LoraLayerOptions(rank=3), 0)
    told = metadata_of(layers.file_content("unet"))
    assert (told["unet.r"], told["unet.lora_alpha"]) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 0}, "--rank"),
        ({"lora_alpha": 0.0}, "--lora-alpha"),
        ({"lora_alpha": float("nan")}, "--lora-alpha"),
        ({"target_modules": ()}, "--target-modules"),
    ],
)
def test_nonsense_of_layers_is_refused(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        LoraLayerOptions(**changes)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_nonsense_of_dropout_is_refused(config, share):
    with pytest.raises(ConfigurationError, match="--caption-dropout"):
        dataclasses.replace(config, caption_dropout=share)


def test_a_target_in_no_name_is_refused_before_anything_is_written(config):
    layers = LoraLayerOptions(target_modules=("to_q", "no_such"))
    with pytest.raises(ConfigurationError, match=r"no_such in the name of none .*"):
        train_lora(dataclasses.replace(config, layers=layers), visible=False)
    assert not config.out.exists()


def test_images_without_captions_are_refused(config):
    with pytest.raises((InputError, ModelError)):
        train_lora(dataclasses.replace(config, images="sklearn:digits[:8]"), visible=False)
    assert not config.out.exists()


def test_dropping_captions_of_a_model_without_any_is_refused(config):
    config = dataclasses.replace(
        config, model="embedded:digits_ddpm", images="sklearn:digits[:8]", out=Path("never")
    )
    with pytest.raises(ConfigurationError, match="--caption-dropout"):
        train_lora(config, visible=False)
