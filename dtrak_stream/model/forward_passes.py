"""How the networks of each family are asked: as the training scripts of diffusers call them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dtrak_stream.model.conditioning import (
    ASPECT_RATIO,
    CLASS_LABELS,
    GUIDANCE,
    POOLED,
    POOLED_TEXT,
    PROMPT_MASK,
    PROMPTS,
    RESOLUTION,
    TIME_IDS,
    NetworkInputs,
)

_FLUX_TIMES = 1000  # its forward pass multiplies by it


def predict_by_unet(
    network: nn.Module, noisy: Tensor, times: Tensor, inputs: NetworkInputs
) -> Tensor:
    """Ask a `UNet2DModel`, with class labels (B,) where it has classes."""
    labels = inputs.get(CLASS_LABELS)
    return cast(Tensor, network(noisy, times, class_labels=labels, return_dict=False)[0])


def predict_by_dit(
    network: nn.Module, noisy: Tensor, times: Tensor, inputs: NetworkInputs
) -> Tensor:
    """Ask a `DiTTransformer2DModel` with class labels (B,)."""
    labels = inputs[CLASS_LABELS]
    answer = network(noisy, timestep=times, class_labels=labels, return_dict=False)
    return cast(Tensor, answer[0])


def predict_by_sd3(
    network: nn.Module, noisy: Tensor, times: Tensor, inputs: NetworkInputs
) -> Tensor:
    """Ask an `SD3Transformer2DModel` about latents (B, C, H, W), with all prompt embeddings."""
    answer = network(
        hidden_states=noisy,
        timestep=times,
        encoder_hidden_states=inputs[PROMPTS],  # (B, tokens, width)
        pooled_projections=inputs[POOLED],  # (B, width)
        return_dict=False,
    )
    return cast(Tensor, answer[0])


def predict_by_flux(
    network: nn.Module, noisy: Tensor, times: Tensor, inputs: NetworkInputs
) -> Tensor:
    """Ask a `FluxTransformer2DModel` about latents (B, C, H, W).

    It takes squares of 2 x 2 as tokens, with their places and those of the prompt's tokens (all
    at the origin); the time it is told lies in [0, 1].
    """
    prompts = inputs[PROMPTS]  # (B, tokens, width)
    height, width = noisy.shape[2] // 2, noisy.shape[3] // 2
    answer = network(
        hidden_states=_packed(noisy),
        timestep=times / _FLUX_TIMES,
        guidance=inputs.get(GUIDANCE),  # (B,), of a network that was distilled with it
        encoder_hidden_states=prompts,
        pooled_projections=inputs[POOLED],
        txt_ids=prompts.new_zeros(prompts.shape[1], 3),
        img_ids=_places(height, width, noisy),
        return_dict=False,
    )
    return _unpacked(cast(Tensor, answer[0]), height, width)


def _packed(latents: Tensor) -> Tensor:
    """Make a token of each square: (B, C, 2 h, 2 w) -> (B, h * w, 4 C)."""
    count, channels, height, width = latents.shape
    squares = latents.reshape(count, channels, height // 2, 2, width // 2, 2)
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo `_packed`: (B, h * w, 4 C) -> (B, C, 2 h, 2 w)."""
    squares = tokens.reshape(len(tokens), height, width, -1, 2, 2)  # (B, h, w, C, 2, 2)
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def _places(height: int, width: int, like: Tensor) -> Tensor:
    """Return (0, row, column) of each token: (h * w, 3)."""
    rows = torch.arange(height, device=like.device, dtype=like.dtype)
    columns = torch.arange(width, device=like.device, dtype=like.dtype)
    grid = torch.cartesian_prod(rows, columns)  # (h * w, 2)
    return torch.cat([grid.new_zeros(len(grid), 1), grid], dim=1)


def predict_by_conditional_unet(
    network: nn.Module, noisy: Tensor, times: Tensor, inputs: NetworkInputs
) -> Tensor:
    """Ask a `UNet2DConditionModel` with a text (B, L, D); that of SDXL is told sizes too."""
    added = {name: inputs[name] for name in (POOLED_TEXT, TIME_IDS) if name in inputs}
    answer = network(
        noisy, times, inputs[PROMPTS], added_cond_kwargs=added or None, return_dict=False
    )
    return cast(Tensor, answer[0])


def predict_by_pixart(
    network: nn.Module, noisy: Tensor, times: Tensor, inputs: NetworkInputs
) -> Tensor:
    """Ask a `PixArtTransformer2DModel` with a text (B, L, D) and which of it is no padding."""
    answer = network(
        noisy,
        inputs[PROMPTS],
        timestep=times,
        added_cond_kwargs={name: inputs.get(name) for name in (RESOLUTION, ASPECT_RATIO)},
        encoder_attention_mask=inputs[PROMPT_MASK],
        return_dict=False,
    )
    return cast(Tensor, answer[0])
