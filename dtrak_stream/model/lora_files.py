"""LoRA weights as they lie on disk: which file, what its tensors are called, which alpha it says.

Hu et al. 2021: a layer W becomes W + alpha / r * up @ down. Files name the two factors in these
ways; the name of the layer is what stands before:

===========================================  =================================================
``X.lora_A.weight`` (``.lora_A.default.``)   PEFT, maybe behind ``base_model.model.``
``X.lora.down.weight``                       diffusers, networks
``X.lora_linear_layer.down.weight``          diffusers, text encoders
``X.processor.to_q_lora.down.weight``        diffusers' attention processors, before PEFT
``lora_unet_X_Y.lora_down.weight``           kohya: dots are underscores, ``.alpha`` beside
===========================================  =================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dtrak_stream.errors import InputError, ModelError, first_few
from dtrak_stream.model.places import place_of
from dtrak_stream.model.weight_files import refuse_programs

# what is looked for in a folder, the surest first
LORA_NAMES = (
    *("pytorch_lora_weights.safetensors", "adapter_model.safetensors"),
    *("pytorch_lora_weights.bin", "adapter_model.bin"),
    *("model.safetensors", "pytorch_model.bin"),
)
_FACTORS = {"A": "down", "B": "up", "down": "down", "up": "up"}
_WAYS = (
    re.compile(r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?P<factor>[AB])(?:\.[^.]+)?\.weight"),
    re.compile(r"(?P<layer>.+)\.lora(?:_linear_layer)?\.(?P<factor>down|up)\.weight"),
    re.compile(
        r"(?P<layer>.+?)(?:\.processor)?\.(?P<inner>to_(?:q|k|v|out))_lora\.(?P<factor>down|up)\.weight"
    ),
    re.compile(r"(?P<layer>lora_[^.]+)\.lora_(?P<factor>down|up)\.weight"),
)
_ALPHA = re.compile(r"(?P<layer>.+)\.alpha")
_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "lora_mid": "a Tucker-decomposed LoRA",
    "lora_B.bias": "a LoRA with biases",
}


class Factors(NamedTuple):
    """What a file says of one layer.

    Attributes
    ----------
    down, up
        (r, in, ...) and (out, r, ...).
    alpha
        What stands above r in the scale.
    """

    down: Tensor
    up: Tensor
    alpha: float


@dataclass(frozen=True)
class LoraFile:
    """A file of LoRA weights.

    Attributes
    ----------
    path
        The file.
    layers
        The factors of each layer, by its name in the file.
    root_of_rank
        Whether alpha is divided by the square root of r (Kalajdzievski 2023).
    """

    path: Path
    layers: Mapping[str, Factors]
    root_of_rank: bool = False


def find_lora(given: str | Path) -> Path:
    """Return the file of a LoRA that is named by itself or by its folder, or comes along.

    Raises
    ------
    InputError
        If there is none.
    """
    path = place_of(str(given))
    if path.is_file():
        return path
    found = [path / name for name in LORA_NAMES if (path / name).is_file()]
    if found:
        return found[0]
    raise InputError(
        f"holds none of {', '.join(LORA_NAMES)}" if path.is_dir() else "no such file or folder",
        where=path,
        remedy="give a file of LoRA weights, or the folder or checkpoint-N that training wrote",
    )


def read_lora(given: str | Path) -> LoraFile:
    """Read a LoRA to the last key.

    Parameters
    ----------
    given
        Its file, or the folder that holds it.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    ModelError
        If it is an adapter of another kind, a key is in none of the ways, a layer lacks one of its
        two factors, or needs objects to be unpickled.
    """
    path = find_lora(given)
    tensors, metadata = _tensors(path)
    _refuse_other_kinds(tensors, path)
    config = _peft_config(path)
    pairs, alphas, strange = sorted_out(tensors)
    if not pairs and not strange:
        raise ModelError("holds no tensors", where=path, remedy="give the whole file")
    _refuse_odd_factors(pairs, path)
    if strange:
        raise ModelError(
            f"{len(strange)} of its {len(tensors)} keys are none of a LoRA: {first_few(strange)}",
            where=path,
            remedy="give a LoRA in the names of diffusers, PEFT or kohya's scripts",
        )
    lacking = [
        f"{layer} ({', '.join(pair)} only)" for layer, pair in pairs.items() if len(pair) < 2
    ]
    if lacking:
        raise ModelError(
            f"{len(lacking)} of its {len(pairs)} layers lack one of their two factors: "
            f"{first_few(lacking)}",
            where=path,
            remedy="give the whole file",
        )
    try:
        layers = {
            layer: Factors(pair["down"], pair["up"], _alpha(layer, pair, alphas, metadata, config))
            for layer, pair in pairs.items()
        }
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise ModelError(
            f"its configuration says no alpha ({error})",
            where=path,
            remedy="restore what was saved with it by the training run",
        ) from error
    return LoraFile(path, layers, bool(config.get("use_rslora") or _said(metadata, "use_rslora")))


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all tensors of a file, and what diffusers wrote of the adapter beside them."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                said = (file.metadata() or {}).get("lora_adapter_metadata", "{}")
                return {name: file.get_tensor(name) for name in file.keys()}, _table(said)  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(
            f"cannot be read ({' '.join(str(error).split())[:200]})",
            where=path,
            remedy="check that the file is whole",
        ) from error
    refuse_programs(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, dict) and all(isinstance(each, Tensor) for each in found.values()):
        return found, {}
    raise ModelError(
        "is no table of tensors", where=path, remedy="give the LoRA's weights, not a training state"
    )


def _table(text: str) -> dict[str, Any]:
    """Return a JSON object; raise `ValueError` of anything else."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"a configuration is a {type(found).__name__}")
    return found


def _refuse_odd_factors(pairs: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
    """Refuse factors that are no matrices of numbers with a point."""
    odd = [
        f"{layer} ({name}: {tuple(factor.shape)} {str(factor.dtype).removeprefix('torch.')})"
        for layer, pair in pairs.items()
        for name, factor in pair.items()
        if factor.ndim < 2 or not factor.is_floating_point()
    ]
    if odd:
        raise ModelError(
            f"{len(odd)} of its factors are no matrices of floats: {first_few(odd)}",
            where=path,
            remedy="give a LoRA that is neither damaged nor quantised",
        )


def _refuse_other_kinds(tensors: Mapping[str, Tensor], path: Path) -> None:
    for sign, kind in _OTHER_KINDS.items():
        if any(sign in name for name in tensors):
            raise ModelError(
                f"is {kind}, not a plain LoRA", where=path, remedy="give a LoRA of two factors"
            )


def sorted_out(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, dict[str, Tensor]], dict[str, float], list[str]]:
    """Return the factors and the alpha of each layer, and the keys that are neither.

    Parameters
    ----------
    tensors
        By their names in a file.

    Returns
    -------
    pairs, alphas, strange
        Layer to its `down` and `up`; layer to its alpha; other keys.
    """
    pairs: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    strange = []
    for name, tensor in sorted(tensors.items()):
        alpha = _ALPHA.fullmatch(name)
        match = next((found for way in _WAYS if (found := way.fullmatch(name))), None)
        if alpha is not None and tensor.numel() == 1:
            alphas[_layer_of_alpha(alpha["layer"])] = float(tensor)
        elif match is None:
            strange.append(name)
        else:
            inner = match.groupdict().get("inner")
            layer = f"{match['layer']}.{inner}" if inner else match["layer"]
            pairs.setdefault(layer, {})[_FACTORS[match["factor"]]] = tensor
    return pairs, alphas, [*strange, *(f"{layer}.alpha" for layer in alphas.keys() - pairs.keys())]


def _layer_of_alpha(name: str) -> str:
    return re.sub(r"^base_model\.model\.|\.lora(_linear_layer)?$", "", name)


def configuration_of(path: Path) -> Path:
    """Return where PEFT keeps the configuration of the LoRA in a file, if PEFT saved it."""
    named = path.name.startswith("adapter_model")
    return path.with_name("adapter_config.json" if named else f"{path.name}.json")


def _peft_config(path: Path) -> dict[str, Any]:
    """Return what PEFT wrote beside its weights."""
    beside = configuration_of(path)
    if not beside.is_file():
        return {}
    try:
        config = _table(beside.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read ({error})", where=beside, remedy="restore it from the training run"
        ) from error
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or config.get("use_dora"):
        raise ModelError(
            f"is a {'DoRA' if config.get('use_dora') else kind} adapter",
            where=beside,
            remedy="give a LoRA of two factors",
        )
    return dict(config)


def _alpha(
    layer: str,
    pair: Mapping[str, Tensor],
    alphas: Mapping[str, float],
    metadata: Mapping[str, Any],
    config: Mapping[str, Any],
) -> float:
    """Return alpha: as the layer's own key says, else the file, else the rank (a scale of 1)."""
    if layer in alphas:
        return alphas[layer]
    part = next((each for each in _parts(metadata) if layer.startswith(f"{each}.")), None)
    said = (
        config
        if part is None
        else {name.removeprefix(f"{part}."): value for name, value in metadata.items()}
    )
    inside = layer if part is None else layer.removeprefix(f"{part}.")
    for pattern, value in (said.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", inside):
            return float(value)
    return float(said.get("lora_alpha", len(pair["down"])))


def _parts(metadata: Mapping[str, Any]) -> set[str]:
    """Return the parts of a pipeline that the metadata speaks of."""
    return {name.split(".", 1)[0] for name in metadata if "." in name}


def _said(metadata: Mapping[str, Any], option: str) -> Any:
    return next((value for name, value in metadata.items() if name.endswith(f".{option}")), None)
