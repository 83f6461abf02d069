"""LoRA on a model: every key finds its layer, and every layer of a kind its key, or it is refused.

Layers are found by the names that the network itself gives them.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dtrak_stream.errors import ConfigurationError, ModelError, first_few
from dtrak_stream.model.foreign_lora import Parts, renamed_by_diffusers
from dtrak_stream.model.lora_files import Factors, LoraFile, read_lora
from dtrak_stream.model.options import LoraOptions

_NETWORKS = ("unet", "transformer")
_KOHYA_PARTS = {
    "lora_unet_": _NETWORKS,
    "lora_transformer_": _NETWORKS,
    "lora_te_": ("text_encoder",),
    "lora_te1_": ("text_encoder",),
    "lora_te2_": ("text_encoder_2",),
    "lora_te3_": ("text_encoder_3",),
}
# attention layers as the processors before PEFT called them
_INNER = {"to_out": ("to_out.0", "out_proj"), "to_q": ("q_proj",), "to_k": ("k_proj",)} | {
    "to_v": ("v_proj",)
}
_QUERIES = frozenset({"to_q", "q_proj", "query", "to_qkv"})
"""What the layers of queries are called, one of which every attention has."""


def apply_loras(parts: Parts, loras: Sequence[LoraOptions]) -> list[str]:
    """Put LoRA layers into the parts of a model.

    Afterwards the factors are parameters called `LAYER.lora_A.lora_I.weight`, for the I-th LoRA,
    and all layers they are in are those of PEFT, which call the layer they replace `base_layer`.

    Parameters
    ----------
    parts
        What may be changed; the first is the denoiser.
    loras
        In the order given. Their sum is what is added.

    Returns
    -------
    list of str
        What was put where, a clause for each.

    Raises
    ------
    InputError, ModelError
        If a file cannot be read as one (see `read_lora`), a key fits no layer, or not its size, or
        layers of a kind that it has are left out.
    ConfigurationError
        If a scale is not a number, or PEFT is not installed.
    """
    return [_apply(parts, lora, f"lora_{number}") for number, lora in enumerate(loras)]


def _apply(parts: Parts, lora: LoraOptions, name: str) -> str:
    if not math.isfinite(lora.scale):
        raise ConfigurationError(
            f"{lora.scale} is no scale of a LoRA", where="--lora-scale", remedy="give a number"
        )
    file = read_lora(lora.source)
    found = _in_parts(file, parts)
    for part, layers in found.items():
        _refuse_other_sizes(parts[part], layers, file)
        if not lora.some_layers:
            _refuse_left_out(parts[part], layers, file)
    for part, layers in found.items():
        _inject(parts[part], layers, name, lora.scale, root_of_rank=file.root_of_rank)
    ranks = sorted({len(each.down) for each in file.layers.values()})
    of = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    places = " and ".join(f"{len(layers)} layers of {part}" for part, layers in found.items())
    encoders = " and ".join(part for part in found if part not in _NETWORKS)
    idle = f", no gradients are taken of those of {encoders}" if encoders else ""
    return f"LoRA {file.path} ({of}, {places}, scale {lora.scale:g}{idle})"


def _in_parts(file: LoraFile, parts: Parts) -> dict[str, dict[str, Factors]]:
    """Return the factors of each layer of each part, by the part's own names."""
    placed = {name: _place(name, parts) for name in file.layers}
    strange = sorted(name for name, place in placed.items() if place is None)
    if strange:
        file = renamed_by_diffusers(file, parts)
        placed = {name: _place(name, parts) for name in file.layers}
        strange = sorted(name for name, place in placed.items() if place is None)
    if strange:
        raise _no_place(file, strange, parts)
    found: dict[str, dict[str, Factors]] = defaultdict(dict)
    for name, factors in file.layers.items():
        part, layer = placed[name] or ("", "")
        if layer in found[part]:
            raise ModelError(
                f"says twice what {part}.{layer} is", where=file.path, remedy="give a LoRA of one"
            )
        found[part][layer] = factors
    return dict(found)


def _place(name: str, parts: Parts) -> tuple[str, str] | None:
    """Return the part and the layer that a name of a file means."""
    for prefix, candidates in _KOHYA_PARTS.items():
        if name.startswith(prefix):
            part = next((each for each in candidates if each in parts), None)
            layer = part and _underscored(parts[part]).get(name.removeprefix(prefix))
            return (part, layer) if part and layer else None
    part, inside = next(iter(parts)), name
    for each in parts:
        if name.startswith(f"{each}."):
            part, inside = each, name.removeprefix(f"{each}.")
    layers = _layers(parts[part])
    head, _, last = inside.rpartition(".")
    spellings = (inside, *(f"{head}.{inner}" for inner in _INNER.get(last, ())))
    return next(((part, each) for each in spellings if each in layers), None)


def _layers(part: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers that can have a LoRA, by name, whether they have one already or not."""
    return {
        re.sub(r"\.base_layer$", "", name): module
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and ".lora_" not in name
    }


def _underscored(part: nn.Module) -> dict[str, str]:
    return {name.replace(".", "_"): name for name in _layers(part)}


def _no_place(file: LoraFile, strange: list[str], parts: Parts) -> ModelError:
    network = next(iter(parts.values()))
    named = {name.rpartition(".")[2] for name, _ in network.named_modules()}
    bare = "" if _QUERIES & named else f" (this {type(network).__name__} has no attention at all)"
    return ModelError(
        f"{len(strange)} of its {len(file.layers)} layers are none of {', '.join(parts)}: "
        f"{first_few(strange)}{bare}",
        where=file.path,
        remedy=f"give a LoRA that was trained on this model, a {type(network).__name__}",
    )


def _refuse_other_sizes(part: nn.Module, layers: Mapping[str, Factors], file: LoraFile) -> None:
    own = _layers(part)
    for name, factors in layers.items():
        module, (down, up, alpha) = own[name], factors
        rank = len(down)
        incoming, outgoing = _wanted_shapes(module, rank)
        fits = _fits(down, incoming) and _fits(up, outgoing)
        if not fits:
            raise ModelError(
                f"is for another base: {name} takes factors of {incoming} and {outgoing}, and its "
                f"are {tuple(down.shape)} and {tuple(up.shape)}",
                where=file.path,
                remedy="give a LoRA that was trained on this model",
            )
        if not (down.isfinite().all() and up.isfinite().all() and math.isfinite(alpha) and alpha):
            raise ModelError(
                f"the factors or the alpha of {name} are 0 or not finite",
                where=file.path,
                remedy="take a checkpoint from before its training diverged",
            )


def _wanted_shapes(
    module: nn.Linear | nn.Conv2d, rank: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(module, nn.Linear):
        return (rank, module.in_features), (module.out_features, rank)
    kernel = module.weight.shape[1:]
    return (rank, *kernel), (module.out_channels, rank, 1, 1)


def _fits(factor: Tensor, wanted: tuple[int, ...]) -> bool:
    """Return whether a factor is of a shape, but for sides of 1 at its end."""
    return factor.shape[:2] == wanted[:2] and factor.numel() == math.prod(wanted)


def _refuse_left_out(part: nn.Module, layers: Mapping[str, Factors], file: LoraFile) -> None:
    """Refuse a LoRA that has layers of a kind, such as attn1.to_q, in some blocks only."""
    kinds = {_kind(name) for name in layers}
    left_out = [name for name in _layers(part) if _kind(name) in kinds and name not in layers]
    if left_out:
        raise ModelError(
            f"leaves out {len(left_out)} layers of the kinds it has elsewhere: "
            f"{first_few(left_out)}",
            where=file.path,
            remedy="give the whole file, or --lora-some-layers if it was trained on some blocks",
        )


def _kind(name: str) -> str:
    """Return what a layer is in its block: `attn1.to_q`, `ff.net.proj`, `resnets.conv1`."""
    words = [word for word in name.split(".") if not word.isdigit()]
    return ".".join(words[-2:])


def _inject(
    part: nn.Module,
    layers: Mapping[str, Factors],
    name: str,
    scale: float,
    *,
    root_of_rank: bool,
) -> None:
    """Put the layers of one LoRA into a part."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise ConfigurationError(
            "needs the package peft",
            where="--lora",
            remedy='install it: pip install "dtrak_stream[text]"',
        ) from error
    own = {each: re.escape(each) for each in layers}
    config = LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules="|".join(own.values()),
        rank_pattern={f"^{own[each]}": len(factors.down) for each, factors in layers.items()},
        alpha_pattern={f"^{own[each]}": factors.alpha for each, factors in layers.items()},
        use_rslora=root_of_rank,
    )
    with warnings.catch_warnings():  # that it is not the only one is what is wanted
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        inject_adapter_in_model(config, part, adapter_name=name)
    modules = dict(part.named_modules())
    for each, factors in layers.items():
        layer: Any = modules[each]
        own_type = layer.get_base_layer().weight.dtype
        kept = torch.promote_types(own_type, torch.float32)  # also where the base is in half
        with torch.no_grad():
            for weight, factor in (
                (layer.lora_A[name].weight, factors.down),
                (layer.lora_B[name].weight, factors.up),
            ):
                weight.data = factor.reshape(weight.shape).to(weight.device, kept)
        layer.set_scale(name, scale)
    part.eval()
    for module in modules.values():  # the last one put in has turned off all before it
        if isinstance(module, BaseTunerLayer):
            adapted: Any = module
            adapted.set_adapter([*adapted.lora_A.keys()])
