"""A model of a few layers, and runs of a few images from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate


def save_model(folder: Path, *, channels: int = 1, size: tuple[int, int] = (8, 8)) -> str:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    return str(folder)


def config_of(model: str, out: Path, **changes) -> GenerationConfig:
    config = GenerationConfig(model=model, out=out, count=5, steps=4, batch_size=4, device="cpu")
    return dataclasses.replace(config, **changes)


def made(config: GenerationConfig) -> dict[str, bytes]:
    """Return the bytes of every image by its name."""
    generate(config, visible=False)
    return {path.name: path.read_bytes() for path in sorted(config.out.rglob("*.png"))}


SAMPLERS: list[dict[str, Any]] = [
    {"sampler": "ddim"},
    {"sampler": "ddim", "eta": 0.7},
    {"sampler": "ddpm"},
]
