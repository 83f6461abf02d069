"""Every family of the table: gradients of both engines, and the loss of its training script."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel, UNet2DModel, VQModel
from torch import Tensor

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.gradients.networks import assert_rows_close, engine_called, flat_gradient, gathered
from tests.model.pipelines import PIPELINES

TIMESTEPS = (20, 700)


@torch.no_grad()
def as_in_training(name: str, folder: str, images: Tensor) -> Tensor:
    """Return what noise is mixed into, as the training script of a family makes it."""
    if name in ("ldm-vq", "ldm-labels"):
        vq = VQModel.from_pretrained(f"{folder}/vqvae").double()
        return cast(Tensor, vq.encode(images).latents * vq.config.scaling_factor)
    if name in ("ldm-kl", "dit"):
        part = "vae" if name == "dit" else "vqvae"
        kl = AutoencoderKL.from_pretrained(f"{folder}/{part}").double()
        return cast(Tensor, kl.encode(images).latent_dist.mode() * kl.config.scaling_factor)
    return images


def network_in(name: str, folder: str) -> Any:
    kind, part = (DiTTransformer2DModel, "transformer") if name == "dit" else (UNet2DModel, "unet")
    return kind.from_pretrained(f"{folder}/{part}").double().eval()


def asked(network: Any, noisy: Tensor, time: Tensor, label: int | None) -> Tensor:
    """Return the prediction (1, C, H, W), as the training script of a family asks for it."""
    labels = {} if label is None else {"class_labels": torch.tensor([label])}
    answer: Tensor = network(noisy, time, **labels).sample
    return answer[:, : noisy.shape[1]]  # without a variance


def loss_of_script(network: Any, clean: Tensor, label: int | None, timestep: int) -> Tensor:
    """Return mean squared error of one sample at one timestep, by diffusers alone."""
    noise = ImageNoise(0).draw(
        (clean.shape[1], clean.shape[2], clean.shape[3]),
        sample_id="",
        pairs=[(timestep, 0)],
        device=clean.device,
    )
    noise, time = noise.double(), torch.tensor([timestep])
    noisy = DDPMScheduler().add_noise(clean, noise, time)
    return torch.nn.functional.mse_loss(asked(network, noisy, time, label), noise)


@pytest.fixture(scope="module", params=PIPELINES)
def family(request, tmp_path_factory):
    pipeline = PIPELINES[request.param]
    folder = pipeline.save(tmp_path_factory.mktemp("pipeline"))
    return request.param, folder, pipeline.conditions


def images_for(denoiser):
    shape, generator = denoiser.image_shape, torch.Generator().manual_seed(0)
    size = (3, shape.channels, shape.height, shape.width)
    return torch.rand(size, generator=generator) * 2 - 1


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_are_those_of_the_loss_of_training(family, kind):
    name, folder, conditions = family
    denoiser, network = load_denoiser(folder), network_in(name, folder)
    images = images_for(denoiser)
    rows = []
    for place, clean in enumerate(as_in_training(name, folder, images.double())):
        label = None if conditions is None else conditions[place]
        losses = [loss_of_script(network, clean[None], label, t) for t in TIMESTEPS]
        rows.append(flat_gradient(torch.stack(losses).mean(), list(network.parameters())))
    chosen = choose_parameters(denoiser.network, "all")
    simple = OutputFunction("simple", denoiser.schedule)
    task = GradientTask(denoiser, chosen, simple, TIMESTEPS, ImageNoise(0))
    engine = engine_called(kind, task)
    assert_rows_close(gathered(engine, images, ["a", "b", "c"], conditions), torch.stack(rows))


@torch.no_grad()
def test_losses_are_those_of_training(family):
    name, folder, conditions = family
    denoiser, network = load_denoiser(folder), network_in(name, folder)
    images = images_for(denoiser)
    options = LossOptions(loss_timesteps="list:20,700", loss_draws=1, loss_seed=0)
    found = LossMeter(denoiser, options).of_batch(SampleBatch(("a", "b", "c"), images, conditions))
    for place, clean in enumerate(as_in_training(name, folder, images.double())):
        label = None if conditions is None else conditions[place]
        losses = [loss_of_script(network, clean[None], label, t) for t in TIMESTEPS]
        assert found[place] == pytest.approx(float(sum(losses)) / 2, rel=1e-5)
