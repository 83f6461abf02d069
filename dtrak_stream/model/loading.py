"""Loading a diffusion model from a diffusers folder. Weights are read from safetensors only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import DtrakStreamError, ModelError
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.families import ConditionKind, family_of
from dtrak_stream.model.hub import fetch
from dtrak_stream.model.layout import ModelFolder, find_model
from dtrak_stream.model.places import hub_name, model_root
from dtrak_stream.model.probe import refuse_unlike_model
from dtrak_stream.model.saved_schedule import SavedSchedule
from dtrak_stream.model.weight_files import WeightFiles, find_weights


def load_denoiser(
    folder: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Denoiser:
    """Load an unconditional pixel-space diffusion model from a diffusers folder.

    Parameters
    ----------
    folder
        A pipeline folder, its `unet` folder or a checkpoint of training (see `find_model`),
        `hf:OWNER/NAME` for one on the hub, or `embedded:digits_ddpm` for the small model that
        comes with the package.
    device, dtype
        Where and in what precision the network runs. It is put in evaluation mode.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be had from the hub, or a part of a model is not
        there.
    ModelError
        If it is not understood to the last option and the last weight: its family or scheduler is
        another one, weights are missing or too many, it is conditioned on something, or does not
        answer one sample as it should; see `find_weights` and `refuse_unlike_model`.
    """
    on_hub = hub_name(folder)
    found = find_model(model_root(folder) if on_hub is None else fetch(on_hub))
    family = family_of(found)
    saved = family.read_schedule(found.scheduler)
    weights = find_weights(found.network)
    with _failures_explained(found.network):
        network = family.load(found.network, weights, dtype)
    _refuse_condition(family.conditioned_on(network), found.network)
    shape = family.image_shape(network, found.network)
    denoiser = Denoiser(
        network.to(device).eval(),
        saved.schedule,
        shape,
        family.predict,
        family.class_name,
        folder,
        saved.config,
        saved.learns_variance,
        _described(folder, found, weights, saved, network, shape),
    )
    refuse_unlike_model(denoiser)
    return denoiser


def _described(
    folder: str,
    found: ModelFolder,
    weights: WeightFiles,
    saved: SavedSchedule,
    network: nn.Module,
    shape: ImageShape,
) -> str:
    """Return what was found, in a line for the user."""
    parameters = sum(each.numel() for each in network.parameters())
    variant = f", variant {weights.variant}" if weights.variant else ""
    predicts = saved.predicts + (" and a variance" if saved.learns_variance else "")
    return (
        f"{folder}: {found.class_name} of {shape} samples, predicts {predicts}, "
        f"{saved.description}, {parameters:,} parameters, {found.kind_of_weights}{variant}"
    )


@contextmanager
def _failures_explained(root: Path) -> Iterator[None]:
    try:
        yield
    except DtrakStreamError:
        raise
    except Exception as error:  # diffusers, safetensors and torch each raise their own
        raise ModelError(
            f"cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            where=root,
            remedy="check that the folder is complete, or save the pipeline again",
        ) from error


def _refuse_condition(kind: ConditionKind, root: Path) -> None:
    if kind != "nothing":
        raise ModelError(
            f"is conditioned on a {kind}, which no sample has here",
            where=root,
            remedy="give an unconditional model",
        )
