"""What a network begins with: weights drawn at random, or those of a model that is there."""

from __future__ import annotations

from torch import nn

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.model.schedule import DDPMSchedule

_FLAG = "--start-from"


def start_from(network: nn.Module, schedule: DDPMSchedule, model: str) -> None:
    """Give a network the weights of a model that is like it, and learned the same noise.

    Parameters
    ----------
    network
        What the options of the architecture made.
    schedule
        The noise it will learn.
    model
        A model's folder: any that gradients could be taken of.

    Raises
    ------
    ModelError, InputError
        If the model cannot be loaded.
    ConfigurationError
        If its network has other layers, or its noise is another.
    """
    found = load_denoiser(model)
    own, there = _shapes(network), _shapes(found.network)
    different = sorted(name for name in own | there if own.get(name) != there.get(name))
    if different:
        name = different[0]
        raise ConfigurationError(
            f"the network of {model} is another one: {name} is {there.get(name, 'not there')} in "
            f"it, and {own.get(name, 'not there')} in the one to train",
            where=_FLAG,
            remedy="give --block-out-channels, --layers-per-block, --attention-levels and so on as "
            f"{model} was trained with, and images of its shape",
        )
    if found.schedule.identity != schedule.identity:
        raise ConfigurationError(
            f"{model} learned another noise: {found.schedule.identity}, not {schedule.identity}",
            where=_FLAG,
            remedy="give --prediction-type, --num-train-timesteps and --beta-schedule as it was "
            "trained with",
        )
    network.load_state_dict(found.network.state_dict())


def first_weights_hash(model: str) -> str:
    """Return the hash of the weights of a model's network."""
    return weights_hash(load_denoiser(model).network)


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weights.shape) for name, weights in network.state_dict().items()}
