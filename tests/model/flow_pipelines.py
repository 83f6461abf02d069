"""Tiny pipelines of flow matching of the real classes, as `save_pretrained` leaves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

from dtrak_stream.model.options import LoadingOptions
from tests.model.pipelines import autoencoder_kl
from tests.model.text_pipelines import (
    SIZE,
    clip_text,
    clip_tokenizer,
    row,
    saved,
    spread,
    t5_text,
    t5_tokenizer,
)

WIDTH = 24  # of T5 and of what the networks read for each token
T5_TOKENS = 5
GROWING_SHIFT = {"use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 64}


def sd3_network(**options: Any) -> SD3Transformer2DModel:
    """Return a transformer of two blocks."""
    torch.manual_seed(0)
    usual = {
        "sample_size": SIZE // 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 4,
        "num_attention_heads": 2,
        "joint_attention_dim": WIDTH,
        "caption_projection_dim": 8,
        "pooled_projection_dim": 20,
        "pos_embed_max_size": 12,
    }
    return spread(SD3Transformer2DModel(**{**usual, **options}))


def flux_network(**options: Any) -> FluxTransformer2DModel:
    """Return a transformer of a block of each kind."""
    torch.manual_seed(0)
    usual = {
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": WIDTH,
        "pooled_projection_dim": 8,
        "guidance_embeds": True,
        "axes_dims_rope": (2, 2, 4),
    }
    return spread(FluxTransformer2DModel(**{**usual, **options}))


def sd3(folder: Path, *, t5: bool = True, **options: Any) -> StableDiffusion3Pipeline:
    """Return a pipeline of Stable Diffusion 3, saved in a folder."""
    pipeline = StableDiffusion3Pipeline(
        transformer=sd3_network(**options),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder_kl(scaling_factor=0.4, shift_factor=0.3),
        text_encoder=clip_text(8, 1, projected=True),
        tokenizer=clip_tokenizer(folder / "made"),
        text_encoder_2=clip_text(12, 2, projected=True, hidden_act="gelu"),
        tokenizer_2=clip_tokenizer(folder / "made_2"),
        text_encoder_3=t5_text(WIDTH) if t5 else None,
        tokenizer_3=t5_tokenizer(folder / "made_3") if t5 else None,
    )
    return saved(pipeline, folder)


def flux(folder: Path, **options: Any) -> FluxPipeline:
    """Return a pipeline of Flux, saved in a folder."""
    pipeline = FluxPipeline(
        transformer=flux_network(**options),
        scheduler=FlowMatchEulerDiscreteScheduler(**GROWING_SHIFT),
        vae=autoencoder_kl(scaling_factor=0.4, shift_factor=0.3),
        text_encoder=clip_text(8, 1),
        tokenizer=clip_tokenizer(folder / "made"),
        text_encoder_2=t5_text(WIDTH),
        tokenizer_2=t5_tokenizer(folder / "made_2"),
    )
    return saved(pipeline, folder)


OPTIONS = LoadingOptions(size=SIZE, t5_tokens=T5_TOKENS)
MAKERS: dict[str, Callable[[Path], Any]] = {
    "sd3": sd3,
    "sd3-without-t5": lambda folder: sd3(folder, t5=False),
    "sd3.5-medium": lambda folder: sd3(folder, dual_attention_layers=(0,), qk_norm="rms_norm"),
    "flux-dev": flux,
    "flux-schnell": lambda folder: flux(folder, guidance_embeds=False),
}
"""Name of a family to what returns its pipeline and saves it in a folder called `pipeline`."""
FLOW_PIPELINES = {name: row(make, OPTIONS) for name, make in MAKERS.items()}
"""The same as rows of the table of tiny pipelines. Images are 16 pixels wide."""
