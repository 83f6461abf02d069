"""An image depends on model, sampler, seed and number, and on nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from dtrak_stream.data.images import open_images
from dtrak_stream.generation.run import generate
from dtrak_stream.generation.sampler import Sampler
from dtrak_stream.generation.seeds import ImageSeeds
from dtrak_stream.model.loading import load_denoiser
from tests.generation.small_runs import SAMPLERS, config_of, made
from tests.model.folders import pipeline, unet_with


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_image_is_the_same_however_many_are_made(model, tmp_path, sampler):
    five = made(config_of(model, tmp_path / "five", **sampler))
    two = made(config_of(model, tmp_path / "two", count=2, **sampler))
    assert list(five) == [f"0000{i}.png" for i in range(5)]
    assert two == {name: five[name] for name in ("00000.png", "00001.png")}
    assert len(set(five.values())) == 5


def test_batch_size_changes_last_bits_only(model):
    # convolutions add in another order for another batch size, so the last bits may differ
    denoiser = load_denoiser(model)
    sampler = Sampler(denoiser, "ddpm", steps=4, eta=0.0, seed=0)
    together = sampler.sample(range(5))
    alone = torch.cat([sampler.sample(range(number, number + 1)) for number in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_seed_and_sampler_decide_the_images(model, tmp_path):
    runs: list[dict[str, Any]] = [{"seed": 0}, {"seed": 1}, *SAMPLERS[1:]]
    images = [
        made(config_of(model, tmp_path / str(n), **changes)) for n, changes in enumerate(runs)
    ]
    for number, first in enumerate(images):
        for second in images[number + 1 :]:
            assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_are_those_of_the_diffusers_pipeline(model, sampler):
    kind, eta = sampler["sampler"], sampler.get("eta", 0.0)
    ours = Sampler(load_denoiser(model), kind, 4, eta, seed=3)
    generators = ImageSeeds(3).generators(range(3))
    unet = UNet2DModel.from_pretrained(model, subfolder="unet", use_safetensors=True).eval()
    if kind == "ddim":
        ddim = DDIMPipeline(unet, DDIMScheduler.from_pretrained(model, subfolder="scheduler"))
        ddim.set_progress_bar_config(disable=True)
        theirs = ddim(
            3, generator=generators, eta=eta, num_inference_steps=4, output_type="np"
        ).images
    else:
        ddpm = DDPMPipeline(unet, DDPMScheduler.from_pretrained(model, subfolder="scheduler"))
        ddpm.set_progress_bar_config(disable=True)
        theirs = ddpm(3, generator=generators, num_inference_steps=4, output_type="np").images
    found = (ours.sample(range(3)).permute(0, 2, 3, 1).numpy() + 1) / 2
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-6)


def test_a_run_tells_of_its_model_unless_it_is_not_to_be_seen(model, tmp_path, capsys):
    config = config_of(model, tmp_path, count=1, steps=1)
    generate(config, visible=True)
    assert load_denoiser(model).description in capsys.readouterr().err.splitlines()
    generate(config, visible=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_learned_variance_is_that_of_ddpm_steps_and_left_out_of_ddim_steps(tmp_path, sampler):
    kind, eta = sampler["sampler"], sampler.get("eta", 0.0)
    network = unet_with(out_channels=2)
    model = str(pipeline(tmp_path, network, variance_type="learned_range"))
    ours = Sampler(load_denoiser(model), kind, 4, eta, seed=3)
    found = ours.sample(range(3))
    scheduler = (DDIMScheduler if kind == "ddim" else DDPMScheduler).from_config(
        DDPMScheduler(variance_type="learned_range").config
    )
    scheduler.set_timesteps(4)
    generators = ImageSeeds(3).generators(range(3))
    images = torch.stack([torch.randn(1, 8, 8, generator=each) for each in generators])
    options = {"eta": eta} if kind == "ddim" else {}
    with torch.inference_mode():
        for t in scheduler.timesteps:
            answer = network(images, t).sample
            given = answer[:, :1] if kind == "ddim" else answer
            images = scheduler.step(given, t, images, generator=generators, **options).prev_sample
    torch.testing.assert_close(found, images.clamp(-1, 1), rtol=0, atol=1e-5)


def test_embedded_model_generates_digits(tmp_path):
    """Nearly every image is as near to a training image as a held-out digit is."""
    config = config_of("embedded:digits_ddpm", tmp_path, count=16, steps=20, batch_size=16)
    generate(dataclasses.replace(config, float_images=True), visible=False)
    images = np.load(tmp_path / "images.npy").reshape(16, 64)
    digits = open_images("sklearn:digits", limit=1000, visible=False)
    known = torch.stack([digits.image(i) for i in range(1000)]).reshape(1000, 64)
    nearest = torch.cdist(torch.from_numpy(images), known).min(dim=1).values
    assert nearest.median() < 3
