"""LoRAs in the names of other programs' networks, put into those of diffusers by diffusers.

Stability's blocks stand in kohya's files for Stable Diffusion XL, Black Forest Labs' in those for
Flux, where one layer may be several of diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dtrak_stream.model.lora_files import Factors, LoraFile, sorted_out

Parts: TypeAlias = Mapping[str, nn.Module]
"""Parts of a pipeline that a LoRA may change, by name: `unet` or `transformer`, `text_encoder`."""


def renamed_by_diffusers(file: LoraFile, parts: Parts) -> LoraFile:
    """Return the LoRA in the names that diffusers gives to those of other programs' networks.

    Parameters
    ----------
    file
        The LoRA, of which some names are none of the network's.
    parts
        What may be changed; the first is the denoiser.

    Returns
    -------
    LoraFile
        The same numbers under other names; the LoRA as it was if they are none of any program
        that diffusers knows, or would not all be kept.
    """
    renamed = _converted(file, parts)
    kept = sum(each.up.shape[0] * each.down[0].numel() for each in file.layers.values())
    got = sum(each.up.shape[0] * each.down[0].numel() for each in renamed.values())
    # where two layers of the file are one of the network's, or the other way round, sizes add up
    return LoraFile(file.path, renamed, file.root_of_rank) if got == kept else file


def _converted(file: LoraFile, parts: Parts) -> dict[str, Factors]:
    from diffusers import loaders  # takes longer than all else together

    network = next(iter(parts.values()))
    mixins = {
        "FluxTransformer2DModel": loaders.FluxLoraLoaderMixin,
        "SD3Transformer2DModel": loaders.SD3LoraLoaderMixin,
        "UNet2DConditionModel": loaders.StableDiffusionXLLoraLoaderMixin
        if "text_encoder_2" in parts
        else loaders.StableDiffusionLoraLoaderMixin,
    }
    mixin: Any = mixins.get(type(network).__name__)
    if mixin is None:
        return {}
    state = {f"{name}.lora_down.weight": each.down for name, each in file.layers.items()}
    state |= {f"{name}.lora_up.weight": each.up for name, each in file.layers.items()}
    config = (
        {} if mixin is mixins.get("FluxTransformer2DModel") else {"unet_config": network.config}
    )
    try:
        answer = mixin.lora_state_dict(state, **config)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        return {}
    return _paired(answer[0] if isinstance(answer, tuple) else answer, file)


def _paired(tensors: Mapping[str, Tensor], file: LoraFile) -> dict[str, Factors]:
    """Return the factors under their new names, each with the alpha of the layer it was.

    Diffusers would scale some factors by alpha, and lose that of others. It is told none, and
    which layer one was tells its factor `down`, which stays as it is when layers are taken apart.
    """
    alphas = {_content(each.down): each.alpha for each in file.layers.values()}
    pairs, _, _ = sorted_out(tensors)
    return {
        layer: Factors(pair["down"], pair["up"], alphas[_content(pair["down"])])
        for layer, pair in pairs.items()
        if len(pair) == 2 and _content(pair["down"]) in alphas
    }


def _content(factor: Tensor) -> bytes:
    return factor.contiguous().view(torch.uint8).numpy().tobytes()
