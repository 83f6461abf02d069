"""The parameters whose gradients are taken, and a hash of all weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import xxhash
from torch import nn

from dtrak_stream.errors import ConfigurationError, ModelError, first_few

_OF_LORA = "lora_"


def choose_parameters(network: nn.Module, choice: str) -> dict[str, nn.Parameter]:
    """Pick the parameters whose gradients are taken and freeze all others.

    Parameters
    ----------
    network
        The denoiser. `requires_grad` of its parameters is set by this call.
    choice
        `auto`: those of LoRAs where there are some, else all; `all`; `lora` (names that contain
        `lora_`); or a regular expression searched in the name.

    Returns
    -------
    dict
        Name to parameter, in the order of `named_parameters`: the order of the flat gradient.

    Raises
    ------
    ConfigurationError
        If nothing matches, or the regular expression is malformed.
    """
    known = {"auto": _OF_LORA if has_lora(network) else "", "all": "", "lora": _OF_LORA}
    parameters = dict(network.named_parameters())
    wanted = matching(parameters, known.get(choice, choice))
    chosen = {name: each for name, each in parameters.items() if name in wanted}
    if not chosen:
        some = ", ".join(name for name, _ in list(network.named_parameters())[:3])
        raise ConfigurationError(
            "no parameter of the model matches",
            where=f"--parameters {choice}",
            remedy=f"names look like: {some}, ...",
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)
    return chosen


def matching(names: Iterable[str], pattern: str) -> set[str]:
    """Return the names in which a regular expression is found.

    Raises
    ------
    ConfigurationError
        If it is malformed.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(
            f"not a regular expression ({error})",
            where=f"--parameters {pattern}",
            remedy="use auto, all, lora, or a regular expression over parameter names",
        ) from error
    return {name for name in names if wanted.search(name)}


def has_lora(network: nn.Module) -> bool:
    """Return whether parameters of a network are those of a LoRA."""
    return any(_OF_LORA in name for name, _ in network.named_parameters())


def weights_hash(network: nn.Module) -> str:
    """Return the xxh3-128 of every parameter's and buffer's name, dtype, shape and bytes.

    What the parts of a LoRA are multiplied by counts as a weight: it is nowhere else.
    """
    return hash_of_weights({**network.state_dict(), **_scales_of_loras(network)})


def _scales_of_loras(network: nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{name}.scaling.{lora}": torch.tensor(scale, dtype=torch.float64)
        for name, module in network.named_modules()
        if hasattr(module, "lora_A") and isinstance(module.scaling, dict)
        for lora, scale in module.scaling.items()
    }


def hash_of_weights(weights: Mapping[str, Any]) -> str:
    """Return the xxh3-128 of every weight's name, dtype, shape and bytes."""
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def refuse_weights_not_finite(network: nn.Module, where: object) -> None:
    """Raise `ModelError` if a parameter or buffer holds NaN or inf.

    Parameters
    ----------
    network
        Whose.
    where
        Where it came from, for the refusal.
    """
    bad = [
        name
        for name, values in network.state_dict().items()
        if values.is_floating_point() and not bool(values.isfinite().all())
    ]
    if bad:
        raise ModelError(
            f"{len(bad)} of its weights hold numbers that are not finite: {first_few(bad)}",
            where=where,
            remedy="take a checkpoint from before its training diverged",
        )
