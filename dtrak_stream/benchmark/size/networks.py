"""Networks of the size that people fine-tune, with random weights, and a LoRA for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from dtrak_stream.benchmark.size.options import NetworkName

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")

_OPTIONS: dict[NetworkName, dict[str, Any]] = {
    "tiny": {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 8,
    },
    "sd-1.5": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def random_network(name: NetworkName, weights: torch.dtype) -> UNet2DConditionModel:
    """Return a network without gradients, in evaluation mode.

    Parameters
    ----------
    name
        Which.
    weights
        Type of the weights of its linear layers and convolutions, which are filled in without a
        copy in another type; all others are float32.
    """
    torch.manual_seed(0)
    with torch.device("meta"):
        network = UNet2DConditionModel(**_OPTIONS[name])
    for layer in network.modules():
        for kind, parameter in list(layer.named_parameters(recurse=False)):
            is_matrix = isinstance(layer, nn.Linear | nn.Conv2d) and kind == "weight"
            numbers = _numbers(parameter, weights if is_matrix else torch.float32, kind)
            setattr(layer, kind, nn.Parameter(numbers, requires_grad=False))
    return network.eval()


def _numbers(like: Tensor, dtype: torch.dtype, kind: str) -> Tensor:
    """Return random weights that keep the size of what goes through, norms of 1, biases of 0."""
    if like.dim() == 1:
        return torch.full(like.shape, float(kind == "weight"), dtype=dtype)
    return torch.empty(like.shape, dtype=dtype).normal_(0, like[0].numel() ** -0.5)


def save_random_lora(network: nn.Module, rank: int, path: Path) -> None:
    """Save a LoRA of a rank on all attention projections of a network, in PEFT's names."""
    torch.manual_seed(1)
    factors: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if name.endswith(_ATTENTION) and isinstance(layer, nn.Linear):
            down = torch.randn(rank, layer.in_features) * layer.in_features**-0.5
            factors[f"{name}.lora_A.weight"] = down
            factors[f"{name}.lora_B.weight"] = 0.1 * torch.randn(layer.out_features, rank)
    save_file(factors, path)
