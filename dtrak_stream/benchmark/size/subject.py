"""What is measured: a network with a LoRA, and images of whose loss the LoRA is differentiated."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from dtrak_stream.benchmark.size.networks import random_network, save_random_lora
from dtrak_stream.benchmark.size.options import NetworkName, PrecisionName
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.task import GradientTask, LossScale
from dtrak_stream.model.conditioning import POOLED_TEXT, PROMPTS, TIME_IDS
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.forward_passes import predict_by_conditional_unet
from dtrak_stream.model.half_precision import HALF_PRECISION
from dtrak_stream.model.lora import apply_loras
from dtrak_stream.model.options import LoraOptions
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.objective.timesteps import choose_timesteps

_TOKENS = 77
_POOLED = 1280


@dataclass(frozen=True)
class SizeSubject:
    """A network with its LoRA, and images.

    Attributes
    ----------
    task
        What is differentiated: the training loss of an image, of the LoRA's parameters.
    samples
        Random latents with random embeddings of prompts.
    """

    task: GradientTask
    samples: SampleBatch


def make_size_subject(
    name: NetworkName,
    *,
    rank: int,
    precision: PrecisionName,
    timesteps: int,
    images: int,
    latent_side: int | None,
) -> SizeSubject:
    """Return a network of a name with a LoRA of a rank, and so many images."""
    half = HALF_PRECISION.get(precision)
    network = random_network(name, half or torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lora.safetensors")
        save_random_lora(network, rank, path)
        apply_loras({"unet": network}, [LoraOptions(str(path))])
    side = latent_side or int(cast(int, network.config.sample_size))
    shape = ImageShape(4, side, side)
    schedule = DDPMSchedule.of(DDPMScheduler(beta_schedule="scaled_linear"))
    task = GradientTask(
        Denoiser(network, schedule, shape, predict_by_conditional_unet, name, name),
        choose_parameters(network, "lora"),
        OutputFunction("simple", schedule),
        choose_timesteps(str(timesteps), schedule.num_timesteps),
        ImageNoise(0),
        autocast=half,
        scale=LossScale.for_precision(precision, shape),
    )
    return SizeSubject(task, _samples(network, shape, images))


def _samples(network: UNet2DConditionModel, shape: ImageShape, count: int) -> SampleBatch:
    generator = torch.Generator().manual_seed(0)

    def numbers(*size: int) -> Tensor:
        return torch.randn(count, *size, generator=generator)

    inputs = {PROMPTS: numbers(_TOKENS, cast(int, network.config.cross_attention_dim))}
    if network.config.addition_embed_type is not None:
        side = 8.0 * shape.height
        sizes = torch.tensor([side, side, 0, 0, side, side]).repeat(count, 1)
        inputs |= {POOLED_TEXT: numbers(_POOLED), TIME_IDS: sizes}
    ids = tuple(f"image {number}" for number in range(count))
    latents = numbers(shape.channels, shape.height, shape.width)
    return SampleBatch(ids, latents, inputs=inputs)
