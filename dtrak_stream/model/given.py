"""A model that is given from Python: what it is called, and what is wanted of it."""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.places import EMBEDDED_MODEL, GIVEN
from dtrak_stream.model.probe import refuse_unlike_model
from dtrak_stream.support.cluster_options import ClusterOptions

# which latents are drawn is not the only thing that a seed is for
_OF_NO_FOLDER = ("seed", "half", "kept_whole")
_OPTIONS = {"loras": "lora", "untrained": "weights"}


def refuse_to_share_given(denoiser: Denoiser | None, cluster: ClusterOptions) -> None:
    """Refuse workers that would not have the model.

    Raises
    ------
    ConfigurationError
        If a model is given instead of named, and this process is not to do all the work.
    """
    if denoiser is not None and not cluster.is_this_process:
        raise ConfigurationError(
            "a model that is given from Python is in this process alone",
            where="--workers, --devices or --scheduler",
            remedy="leave them out, and start this several times at once to share the work",
        )


def name_of_given(denoiser: Denoiser, model: object) -> str:
    """Return what records call a model that is given from Python.

    Parameters
    ----------
    denoiser
        The model.
    model
        The name or names of a model in the configuration beside it.

    Raises
    ------
    ConfigurationError
        If that is a model as well.
    """
    name = f"{GIVEN}{denoiser.class_name}"
    if model in (EMBEDDED_MODEL, name):
        return name
    raise ConfigurationError(
        f"a model is given from Python besides ({denoiser.class_name})",
        where=f"model={model!r}",
        remedy="leave one of them out",
    )


def checked_given(
    denoiser: Denoiser, options: LoadingOptions, device: str, half: torch.dtype | None
) -> Denoiser:
    """Return a model that is given from Python, described, after one pass through it.

    Parameters
    ----------
    denoiser
        The model.
    options
        How models are read from folders: there is none to be read.
    device
        Where it is to run, `auto` for where it is.
    half
        The half-precision type that its network is to run in; None for its own type.

    Raises
    ------
    ConfigurationError
        If an option is about a folder of a model, or the model is on another device.
    ModelError
        If it is not in evaluation mode; or as `refuse_unlike_model`.
    """
    usual = LoadingOptions()
    for each in fields(LoadingOptions):
        if each.name not in _OF_NO_FOLDER and getattr(options, each.name) != getattr(
            usual, each.name
        ):
            raise ConfigurationError(
                "is about reading a model from its folder, and this one is given from Python",
                where=_OPTIONS.get(each.name, each.name),
                remedy="leave it out, and give the model as it is to be",
            )
    _refuse_other_device(denoiser, device)
    if any(module.training for module in denoiser.network.modules()):
        raise ModelError(
            "its network, or a part of it, is in training mode",
            where=denoiser.class_name,
            remedy="call network.eval() before it is given",
        )
    refuse_unlike_model(denoiser, half)
    return replace(denoiser, description=denoiser.description or _described(denoiser))


def _refuse_other_device(denoiser: Denoiser, name: str) -> None:
    if name == "auto":
        return
    wanted, found = torch.device(name), denoiser.device
    if wanted.type != found.type or wanted.index not in (None, found.index):
        raise ConfigurationError(
            f"the model that is given is on {found}",
            where=f"device {name}",
            remedy="move it before it is given (network.to(device)), or leave the device out",
        )


def _described(denoiser: Denoiser) -> str:
    parameters = sum(each.numel() for each in denoiser.network.parameters())
    parts = (denoiser.first_stage, denoiser.conditioner)
    before = "".join(f", {part.description}" for part in parts if part is not None)
    return (
        f"{denoiser.folder}: {denoiser.class_name} of {denoiser.sample_shape} samples{before}, "
        f"{denoiser.schedule.num_timesteps:,} timesteps, {parameters:,} parameters"
    )
