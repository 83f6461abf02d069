"""Families of flow matching: texts as in their pipelines, gradients and losses as in training."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.gradients.networks import assert_rows_close, engine_called, flat_gradient, gathered
from tests.model.flow_pipelines import GROWING_SHIFT, MAKERS, OPTIONS, T5_TOKENS
from tests.model.text_pipelines import SIZE, TEXTS

CPU = torch.device("cpu")
TIMESTEPS = (20, 700)
IDS = ["a", "b", "c"]
SIDE = SIZE // 2


class Family(NamedTuple):
    name: str
    pipeline: Any
    denoiser: Denoiser


@pytest.fixture(scope="module", params=MAKERS)
def family(request, tmp_path_factory) -> Family:
    folder = tmp_path_factory.mktemp("family")
    pipeline = MAKERS[request.param](folder)
    return Family(request.param, pipeline, load_denoiser(str(folder / "pipeline"), OPTIONS))


def images() -> Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.no_grad()
def latents_of(pipeline: Any) -> Tensor:
    """Return what a training script mixes noise into."""
    vae = copy.deepcopy(pipeline.vae).double()
    found = vae.encode(images().double()).latent_dist.mode()
    return cast(Tensor, (found - vae.config.shift_factor) * vae.config.scaling_factor)


@torch.no_grad()
def told(family: Family, text: str) -> dict[str, Tensor]:
    """Return what the pipeline makes of a text."""
    usual = {"device": CPU, "max_sequence_length": T5_TOKENS}
    if family.name.startswith("sd3"):
        prompt, _, pooled, _ = family.pipeline.encode_prompt(
            text, text, text, do_classifier_free_guidance=False, **usual
        )
    else:
        prompt, pooled, _ = family.pipeline.encode_prompt(text, **usual)
    return {"encoder_hidden_states": prompt, "pooled_projections": pooled}


def levels(family: Family) -> tuple[Tensor, Tensor]:
    """Return sigma and time at each timestep, (T,), of a sampler that takes all steps."""
    scheduler = copy.deepcopy(family.pipeline.scheduler)
    if family.name.startswith("flux"):
        squares = (SIDE // 2) ** 2
        grown = 0.5 + (1.15 - 0.5) * (squares - 4) / (GROWING_SHIFT["max_image_seq_len"] - 4)
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 1000, 1000), mu=grown)
    return scheduler.sigmas[:1000].flip(0).double(), scheduler.timesteps.flip(0).double()


def answer(family: Family, network: Any, noisy: Tensor, time: Tensor, text: str) -> Tensor:
    """Return the prediction (1, C, H, W), asked for as the training script of a family does."""
    prompt = {name: each.double() for name, each in told(family, text).items()}
    if family.name.startswith("sd3"):
        return cast(Tensor, network(hidden_states=noisy, timestep=time, **prompt)[0])
    guided = network.config.guidance_embeds
    found = network(
        hidden_states=FluxPipeline._pack_latents(noisy, 1, 4, SIDE, SIDE),
        timestep=time / 1000,
        guidance=torch.tensor([3.5]).double() if guided else None,
        txt_ids=torch.zeros(T5_TOKENS, 3).double(),
        img_ids=FluxPipeline._prepare_latent_image_ids(1, SIDE // 2, SIDE // 2, CPU, noisy.dtype),
        **prompt,
    )[0]
    return cast(Tensor, FluxPipeline._unpack_latents(found, SIZE, SIZE, SIZE // SIDE))


def loss(family: Family, network: Any, clean: Tensor, text: str) -> Tensor:
    """Return the mean squared error over timesteps of one sample, by diffusers alone."""
    sigmas, times = levels(family)
    errors = []
    for timestep in TIMESTEPS:
        pairs = [(timestep, 0)]
        noise = ImageNoise(0).draw((4, SIDE, SIDE), sample_id="", pairs=pairs, device=CPU).double()
        noisy = (1 - sigmas[timestep]) * clean[None] + sigmas[timestep] * noise
        found = answer(family, network, noisy, times[timestep : timestep + 1], text)
        errors.append(torch.nn.functional.mse_loss(found, noise - clean[None]))
    return torch.stack(errors).mean()


def network_of(family: Family) -> Any:
    return copy.deepcopy(family.pipeline.transformer).double()


def gradients_of_script(family: Family, texts: tuple[str, ...]) -> Tensor:
    network, rows = network_of(family).requires_grad_(True), []
    parameters = list(network.parameters())
    for clean, text in zip(latents_of(family.pipeline), texts):
        rows.append(flat_gradient(loss(family, network, clean, text), parameters))
    return torch.stack(rows)


def test_texts_are_those_of_the_pipeline(family):
    conditioner = family.denoiser.conditioner
    assert conditioner is not None
    found = conditioner.inputs(TEXTS, CPU)
    for row, text in enumerate(TEXTS):
        for name, expected in told(family, text).items():
            assert torch.equal(found[name][row : row + 1], expected), name
    guided = {"guidance"} if family.name == "flux-dev" else set()
    assert found.keys() == {"encoder_hidden_states", "pooled_projections"} | guided


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_are_those_of_the_loss_of_training_under_the_own_caption(family, kind):
    denoiser = family.denoiser
    chosen = choose_parameters(denoiser.network, "all")
    function = OutputFunction("simple", denoiser.schedule)
    task = GradientTask(denoiser, chosen, function, TIMESTEPS, ImageNoise(0))
    found = gathered(engine_called(kind, task), images(), IDS, TEXTS)
    assert_rows_close(found, gradients_of_script(family, TEXTS))
    others = gradients_of_script(family, ("another text", *TEXTS[1:]))[0]
    assert (found[0] - others).norm() > 1e-3 * others.norm()


@torch.no_grad()
def test_losses_are_those_of_training(family):
    network = network_of(family)
    options = LossOptions(loss_timesteps="list:20,700", loss_draws=1, loss_seed=0)
    batch = SampleBatch(tuple(IDS), images(), TEXTS)
    found = LossMeter(family.denoiser, options).of_batch(batch)
    for measured, clean, text in zip(found, latents_of(family.pipeline), TEXTS):
        assert measured == pytest.approx(float(loss(family, network, clean, text)), rel=1e-5)


def test_what_reads_captions_is_described_weighed_and_part_of_the_identity(family):
    conditioner = family.denoiser.conditioner
    assert family.denoiser.conditioned_on == "caption"
    assert conditioner is not None
    assert f", {conditioner.description}, predicts velocity" in family.denoiser.description
    assert family.denoiser.identity.endswith(f", told {conditioner.identity}")
    parts = family.pipeline.components.values()
    modules = [each for each in parts if isinstance(each, torch.nn.Module)]
    weights = sum(each.numel() for module in modules for each in module.parameters())
    assert family.denoiser.weight_bytes == 4 * weights
