"""LoRA layers of a network that is to learn them, and the file that they are saved in."""

from __future__ import annotations

import json
import math
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from dtrak_stream.errors import ConfigurationError, first_few
from dtrak_stream.training.lora_configuration import LoraLayerOptions

_ADAPTER = "default"
_METADATA = "lora_adapter_metadata"  # where diffusers looks for the options of an adapter
_SHOWN = 8


class LoraLayers:
    """Puts layers of rank r beside those of a network, whose own parameters stand still from then.

    PEFT's names: the factors of a layer X are `X.lora_A.default.weight` (r, in) and
    `X.lora_B.default.weight` (out, r).

    Parameters
    ----------
    network
        It is changed. Its LoRA parameters alone require gradients afterwards.
    options
        Which layers, and of what size.
    seed
        Of the first factors, which are drawn on the CPU: Kaiming's uniform distribution as of
        `nn.Linear`; the second ones are zero.

    Raises
    ------
    ConfigurationError
        If a target is in the name of no layer, or PEFT is not installed.
    """

    def __init__(self, network: nn.Module, options: LoraLayerOptions, seed: int) -> None:
        targets = _targets(network, options.target_modules)
        network.requires_grad_(False)
        self._config = _inject(network, options, targets)
        self.parameters = {
            name: each for name, each in network.named_parameters() if each.requires_grad
        }
        generator = torch.Generator().manual_seed(seed)
        for name, factor in self.parameters.items():
            if ".lora_A." in name:
                _draw(factor, generator)

    def file_content(self, network_name: str) -> bytes:
        """Return the file as `save_lora_weights` of diffusers writes it, rank and alpha in it.

        Parameters
        ----------
        network_name
            What pipelines call the network: `unet` or `transformer`.
        """
        factors: dict[str, Tensor] = {
            f"{network_name}.{name.replace(f'.{_ADAPTER}.', '.')}": each.detach().cpu().contiguous()
            for name, each in self.parameters.items()
        }
        options = {f"{network_name}.{name}": each for name, each in self._config.items()}
        told = json.dumps(options, indent=2, sort_keys=True)
        content = safetensors.torch.save(factors, metadata={"format": "pt", _METADATA: told})
        return _with_ordered_metadata(content)


def _targets(network: nn.Module, wanted: tuple[str, ...]) -> list[str]:
    """Return the names of the layers that are meant."""
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    strange = [each for each in wanted if not any(_names(each, layer) for layer in layers)]
    if strange:
        kinds = sorted({name.rpartition(".")[2] for name in layers if not name[-1].isdigit()})
        raise ConfigurationError(
            f"{', '.join(strange)} in the name of none of its {len(layers)} layers",
            where="--target-modules",
            remedy=f"give some of {first_few(kinds, shown=_SHOWN)}",
        )
    return [layer for layer in layers if any(_names(each, layer) for each in wanted)]


def _names(words: str, layer: str) -> bool:
    return f".{words}." in f".{layer}."


def _inject(network: nn.Module, options: LoraLayerOptions, targets: list[str]) -> dict[str, Any]:
    """Put the layers in; return their options as PEFT calls them."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigurationError(
            "training a LoRA needs the package peft",
            where="train-lora",
            remedy='install it: pip install "dtrak_stream[text]"',
        ) from error
    alpha = options.rank if options.lora_alpha is None else options.lora_alpha
    config = LoraConfig(r=options.rank, lora_alpha=alpha, target_modules=targets)
    inject_adapter_in_model(config, network, adapter_name=_ADAPTER)
    return {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in config.to_dict().items()
    }


@torch.no_grad()
def _draw(factor: nn.Parameter, generator: torch.Generator) -> None:
    drawn = torch.empty(factor.shape)
    nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
    factor.copy_(drawn)


def _with_ordered_metadata(content: bytes) -> bytes:
    """Return a safetensors file whose metadata are in order: by itself it is another every time."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at multiples of 8
    return len(text).to_bytes(8, "little") + text + content[start:]
