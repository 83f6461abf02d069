"""Loading a diffusion model from a diffusers folder, to the last option and the last weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from dtrak_stream.errors import ConfigurationError, DtrakStreamError, ModelError
from dtrak_stream.model.autoencoders import Autoencoder
from dtrak_stream.model.base_pipeline import base_folder, refuse_other_base
from dtrak_stream.model.conditioning import Conditioner
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.families import OF_SOME, ModelFamily, family_of
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.model.half_precision import HALF_PRECISION
from dtrak_stream.model.half_weights import fill_in_half
from dtrak_stream.model.hub import fetch, fetch_lora
from dtrak_stream.model.layout import find_model
from dtrak_stream.model.lora import apply_loras
from dtrak_stream.model.model_folder import ModelFolder
from dtrak_stream.model.network_files import load_network, untrained_network
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.own_pipeline import OwnPipeline, own_pipeline, texts_of
from dtrak_stream.model.places import HUB, hub_name, model_root
from dtrak_stream.model.probe import refuse_unlike_model
from dtrak_stream.model.sample_shapes import sample_side
from dtrak_stream.model.weight_files import WeightFiles, find_weights
from dtrak_stream.support.unused_options import refuse_unused


def load_denoiser(
    folder: str,
    options: LoadingOptions | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Denoiser:
    """Load a diffusion model from a diffusers folder, of any family in `model.families`.

    Parameters
    ----------
    folder
        A pipeline folder, its `unet` folder or a checkpoint of training (see `find_model`),
        `hf:OWNER/NAME` for one on the hub, or `embedded:digits_ddpm` for the small model that
        comes with the package.
    options
        What of it is read, and how; the usual if left out.
    device, dtype
        Where and in what precision the network runs. It is put in evaluation mode.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be had from the hub, or a part of a model is not
        there.
    ModelError
        If it is not understood to the last option and the last weight: its family or scheduler is
        another one, weights are missing or too many, a part is none that its family has, or it
        does not answer one sample as it should; see `find_weights` and `refuse_unlike_model`.
    ConfigurationError
        If an option means nothing for such a model.
    """
    options = options or LoadingOptions()
    _refuse_untrained_lora(options)
    found = _found(folder, options)
    family = family_of(found)
    found.refuse_parts_but(family.parts)
    told_nothing = OF_SOME - family.options
    refuse_unused(options, told_nothing, f"a {family.class_name} is told no such thing")
    side = sample_side(found, options.size)
    with _failures_explained(found.network):
        outline = family.outline(family.class_name, found.network)
    shape = family.sample_shape(outline, found, side)
    saved = family.read_schedule(found.scheduler, outline, shape)
    learns_variance = saved.learns_variance or family.learns_variance(outline)
    weights, half = _weights_of(found), HALF_PRECISION.get(options.half or "")
    with _failures_explained(found.network):
        network = _network(outline, found, weights, options, dtype)
    network = network.to(device).eval()
    with _failures_explained(found.named_by.parent):
        first_stage = family.make_first_stage(shape, found, options, device)
        image_shape = shape if first_stage is None else first_stage.image_shape
        conditioner = family.make_conditioner(network, found, image_shape, options, device)
    adapted = _with_loras(network, found, conditioner, options)
    denoiser = Denoiser(
        network,
        saved.schedule,
        image_shape,
        family.predict,
        family.class_name,
        folder,
        saved.config,
        learns_variance,
        first_stage=first_stage,
        conditioner=conditioner,
        pipeline=_own_pipeline(family, network, found, first_stage, conditioner),
    )
    refuse_unlike_model(denoiser, half)
    predicts = saved.predicts + (" and a variance" if learns_variance else "")
    parts = [] if options.base is None else [f"other parts of {options.base}"]
    facts = ", ".join([f"predicts {predicts}", saved.description, *parts, *adapted])
    read = f"{found.kind_of_weights}{weights.description}"
    if options.untrained:
        read = f"UNTRAINED: random weights of seed {options.seed}, for controls only"
    return replace(denoiser, description=_described(denoiser, facts, read))


def _network(
    outline: nn.Module,
    found: ModelFolder,
    weights: WeightFiles,
    options: LoadingOptions,
    dtype: torch.dtype,
) -> nn.Module:
    """Return the network with the weights that are wanted, on the CPU."""
    half = HALF_PRECISION.get(options.half or "")
    if options.untrained:
        return untrained_network(outline, found.network, options.seed, dtype)
    if half is None:
        return load_network(outline, found.network, weights, dtype)
    return fill_in_half(outline, found.network, weights, half, whole=options.kept_whole)


def _refuse_untrained_lora(options: LoadingOptions) -> None:
    if options.untrained and options.loras:
        raise ConfigurationError(
            "a LoRA was trained on the weights of a model, and this one is to have random ones",
            where="--weights untrained --lora",
            remedy="leave one of them out",
        )


def _found(folder: str, options: LoadingOptions) -> ModelFolder:
    on_hub = hub_name(folder)
    root = model_root(folder) if on_hub is None else fetch(on_hub)
    if options.base is None:
        return find_model(root, options.weights)
    base = base_folder(options.base)
    found = find_model(root, options.weights, base)
    refuse_other_base(found, base)
    return found


def _weights_of(found: ModelFolder) -> WeightFiles:
    if found.weights_file is not None:
        return WeightFiles(None, file=found.weights_file)
    return find_weights(found.network)


def _with_loras(
    network: nn.Module, found: ModelFolder, conditioner: Conditioner | None, options: LoadingOptions
) -> list[str]:
    """Put the LoRAs on the network and what reads captions; return what was put where."""
    if not options.loras:
        return []
    encoders = {} if conditioner is None else conditioner.networks
    return apply_loras(
        {found.network_name: network, **encoders}, [_fetched(each) for each in options.loras]
    )


def _own_pipeline(
    family: ModelFamily,
    network: nn.Module,
    found: ModelFolder,
    first_stage: FirstStage | None,
    conditioner: Conditioner | None,
) -> OwnPipeline | None:
    """Return what makes images of captions, of the parts that were loaded."""
    if family.pipeline is None:
        return None
    texts = texts_of(conditioner)
    row = family.pipeline(network, found, texts)
    autoencoder = cast(Autoencoder, first_stage).network
    return own_pipeline(row, found.network_name, network, autoencoder, texts, found.scheduler)


def takes_prompts(folder: str, options: LoadingOptions) -> bool:
    """Return whether a model in a folder makes images of captions, before it is loaded.

    Raises
    ------
    InputError, ModelError
        If there is no model, or none of a family that is known.
    """
    return family_of(_found(folder, options)).pipeline is not None


def _fetched(lora: LoraOptions) -> LoraOptions:
    """Return a LoRA with the folder of the cache where it is named as one of the hub."""
    if not lora.source.startswith(HUB):
        return lora
    return replace(lora, source=str(fetch_lora(hub_name(lora.source) or lora.source)))


def _described(denoiser: Denoiser, facts: str, read: str) -> str:
    """Return what was found, in a line for the user."""
    parameters = sum(each.numel() for each in denoiser.network.parameters())
    parts = (denoiser.first_stage, denoiser.conditioner)
    before = "".join(f", {part.description}" for part in parts if part is not None)
    return (
        f"{denoiser.folder}: {denoiser.class_name} of {denoiser.image_shape} samples{before}, "
        f"{facts}, {parameters:,} parameters, {read}"
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
