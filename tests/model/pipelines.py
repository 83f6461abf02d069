"""Tiny pipelines of the real classes with random weights, as `save_pretrained` writes them.

`PIPELINES` is a table: a further family is a further row, and takes part in what every family is
tested for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    UNet2DModel,
    VQModel,
)

from dtrak_stream.data.samples import Condition
from dtrak_stream.model.options import LoadingOptions
from tests.conftest import build_unet, save_model


@dataclass(frozen=True)
class TinyPipeline:
    """How a pipeline is saved, and what its samples are of.

    Attributes
    ----------
    save
        Writes it to a folder.
    conditions
        Of a few samples; None of a model that is told nothing.
    options
        With which it is loaded.
    """

    save: Callable[[Path], str]
    conditions: tuple[Condition, ...] | None = None
    options: LoadingOptions = field(default_factory=LoadingOptions)


def autoencoder_kl(channels: int = 3, latents: int = 4, **options: Any) -> AutoencoderKL:
    """Return an autoencoder that halves images once."""
    torch.manual_seed(1)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=latents,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        norm_num_groups=2,
        sample_size=16,
        **options,
    )


def vq_model(channels: int = 3, latents: int = 3, **options: Any) -> VQModel:
    """Return a vector-quantised autoencoder that halves images once."""
    torch.manual_seed(2)
    return VQModel(
        in_channels=channels,
        out_channels=channels,
        latent_channels=latents,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        norm_num_groups=2,
        num_vq_embeddings=16,
        sample_size=16,
        **options,
    )


def latent_unet(channels: int = 4, **options: Any) -> UNet2DModel:
    """Return a UNet of latents 8 wide."""
    usual = {k: v for k, v in build_unet(channels).config.items() if not k.startswith("_")}
    torch.manual_seed(3)
    return UNet2DModel(**{**usual, **options})


def dit(**options: Any) -> DiTTransformer2DModel:
    """Return a transformer of latents 8 wide that knows five classes and answers a variance."""
    torch.manual_seed(4)
    usual = {
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 2,
        "sample_size": 8,
        "patch_size": 2,
        "num_embeds_ada_norm": 5,
    }
    return DiTTransformer2DModel(**{**usual, **options})


def save_ldm(
    folder: Path,
    vae: AutoencoderKL | VQModel | None = None,
    unet: UNet2DModel | None = None,
    **scheduler: Any,
) -> str:
    """Save a pipeline of latent diffusion."""
    noise = DDPMScheduler(**scheduler)
    LDMPipeline(vae or vq_model(), unet or latent_unet(3), noise).save_pretrained(folder)
    return str(folder)


def save_dit(folder: Path, vae: AutoencoderKL | None = None, **options: Any) -> str:
    """Save a pipeline of a diffusion transformer, whose scheduler says nothing of a variance."""
    named = {number: f"class {number}" for number in range(5)}
    noise = DDIMScheduler(clip_sample=False)
    pipeline = DiTPipeline(dit(**options), vae or autoencoder_kl(), noise, id2label=named)
    pipeline.save_pretrained(folder)
    return str(folder)


PIPELINES = {
    "ddpm": TinyPipeline(lambda folder: save_model(folder, build_unet())),
    "ddpm-labels": TinyPipeline(
        lambda folder: save_model(folder, latent_unet(1, num_class_embeds=5)), (4, 0, 2)
    ),
    "ldm-vq": TinyPipeline(save_ldm),
    "ldm-kl": TinyPipeline(lambda folder: save_ldm(folder, autoencoder_kl(), latent_unet(4))),
    "ldm-labels": TinyPipeline(
        lambda folder: save_ldm(folder, unet=latent_unet(3, num_class_embeds=5)), (4, 0, 2)
    ),
    "dit": TinyPipeline(save_dit, (4, 0, 2)),
}
"""Name of a family to a tiny pipeline of it. Images are 8 or 16 pixels wide."""
