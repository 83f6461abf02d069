"""What featurizing is measured on: a model, images and the task of differentiating."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from dtrak_stream.benchmark.featurizing.options import ModelName
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.noise_keying import NoiseKeying
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.objective.timesteps import choose_timesteps

_PAIRS: dict[ModelName, int] = {"digits": 1280, "rgb32": 160, "cifar": 20}


@dataclass(frozen=True)
class Subject:
    """One model with some images at K timesteps.

    Attributes
    ----------
    name
        Name of the model.
    task
        What is differentiated: a function of the output, averaged over K timesteps.
    samples
        B random images.
    """

    name: ModelName
    task: GradientTask
    samples: SampleBatch

    @property
    def num_pairs(self) -> int:
        """Return the number of (image, timestep) pairs."""
        return len(self.samples) * len(self.task.pairs)


def make_subject(
    name: ModelName,
    *,
    timesteps: int | str,
    pairs: int | None,
    device: torch.device,
    output_function: str = "simple",
    noise: NoiseKeying = "shared",
    parameters: str = "all",
) -> Subject:
    """Return a model with as many random images as give `pairs` at `timesteps` each.

    Raises
    ------
    ConfigurationError
        If `parameters` is an expression that cannot be read, or names none.
    """
    denoiser = _denoiser(name, device)
    shape = denoiser.image_shape
    task = GradientTask(
        denoiser,
        choose_parameters(denoiser.network, parameters),
        OutputFunction(output_function, denoiser.schedule),
        choose_timesteps(str(timesteps), denoiser.schedule.num_timesteps),
        ImageNoise(0, noise),
    )
    count = max(1, (pairs or _PAIRS[name]) // len(task.timesteps))
    generator = torch.Generator().manual_seed(0)
    size = (count, shape.channels, shape.height, shape.width)
    images = torch.rand(size, generator=generator).mul_(2).sub_(1).to(device)
    ids = tuple(f"image {row}" for row in range(count))
    return Subject(name, task, SampleBatch(ids, images))


def _denoiser(name: ModelName, device: torch.device) -> Denoiser:
    if name == "digits":
        return load_denoiser(EMBEDDED_MODEL, device=device)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = DDPMPipeline(random_unet(name), DDPMScheduler())
        pipeline.save_pretrained(Path(folder))
        return load_denoiser(folder, device=device)


def random_unet(name: ModelName) -> UNet2DModel:
    """Return the UNet of the DDPM paper for 32x32 images, or the same shape in small."""
    torch.manual_seed(0)
    small = name == "rgb32"
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=1 if small else 2,
        block_out_channels=(48, 80, 96, 96) if small else (128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=16 if small else 32,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
