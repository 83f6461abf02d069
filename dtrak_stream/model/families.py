"""Families of models, a row each: another family is another row, and nothing else changes.

==============  ===========================  ================  ==================================
family          samples                      conditioned on    schedule
==============  ===========================  ================  ==================================
``UNet2DModel`` pixels in [-1, 1], as given  nothing           DDPM: epsilon, v_prediction, sample
==============  ===========================  ================  ==================================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.config_files import read_config, saved_class
from dtrak_stream.model.denoiser import Predict
from dtrak_stream.model.layout import AVERAGING_OPTIONS, NETWORK_FILE, ModelFolder
from dtrak_stream.model.saved_schedule import SavedSchedule, read_ddpm_schedule
from dtrak_stream.model.weight_files import WeightFiles, refuse_other_weights

ConditionKind: TypeAlias = Literal["nothing", "class label"]


@dataclass(frozen=True)
class ModelFamily:
    """How the models of one family are read and asked.

    Attributes
    ----------
    class_name
        Class of the network, as a pipeline's index names it.
    load
        (folder of the network, its weights, dtype) -> the network on the CPU, all of whose
        weights were in the files.
    image_shape
        (network, folder of it) -> shape of the samples that it takes.
    conditioned_on
        What a network is conditioned on.
    predict
        How a network is asked.
    read_schedule
        Folder of the scheduler -> what it says of the model.
    """

    class_name: str
    load: Callable[[Path, WeightFiles, torch.dtype], nn.Module]
    image_shape: Callable[[nn.Module, Path], ImageShape]
    conditioned_on: Callable[[nn.Module], ConditionKind]
    predict: Predict
    read_schedule: Callable[[Path], SavedSchedule]


def family_of(found: ModelFolder) -> ModelFamily:
    """Return the family of the network in a folder.

    Raises
    ------
    ModelError
        If there is no such family here.
    """
    for family in FAMILIES:
        if found.class_name == family.class_name:
            return family
    raise ModelError(
        f"unknown denoiser class {found.class_name}{_inputs_needed(found.class_name or '')}",
        where=found.named_by,
        remedy="give a pipeline whose denoiser is one of: "
        f"{', '.join(family.class_name for family in FAMILIES)}",
    )


def _inputs_needed(class_name: str) -> str:
    """Return what a network of diffusers needs besides a sample and a timestep, as a clause."""
    import diffusers  # takes longer than all else together

    known = getattr(diffusers, class_name, None)
    if not isinstance(known, type) or not issubclass(known, nn.Module):
        return ""
    _, _, *inputs = inspect.signature(known.forward).parameters.values()
    needed = [
        each.name
        for each in inputs
        if each.default is each.empty and each.name not in ("timestep", "args", "kwargs")
    ]
    return f", which needs {', '.join(needed)}" if needed else ""


def _load_unet(folder: Path, weights: WeightFiles, dtype: torch.dtype) -> nn.Module:
    from diffusers import UNet2DModel  # takes longer than all else together
    from diffusers.utils import logging

    _refuse_other_network(folder, UNet2DModel)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would advise is refused below, or meant
    try:
        network, report = UNet2DModel.from_pretrained(
            folder,
            variant=weights.variant,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,  # the other way needs one more package for no gain here
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(verbosity)
    refuse_other_weights(report, folder)
    return cast(nn.Module, network)


def _refuse_other_network(folder: Path, known: type) -> None:
    """Refuse the configuration of another class, or one with options that this class lacks."""
    path = folder / NETWORK_FILE
    options = read_config(path, what="configuration of a network")
    name = saved_class(options) or known.__name__
    understood = AVERAGING_OPTIONS | inspect.signature(known).parameters.keys()
    unknown = [
        f"{key}: {value!r}"
        for key, value in options.items()
        if not (key.startswith("_") or key in understood or value in (None, False))
    ]
    if name == known.__name__ and not unknown:
        return
    raise ModelError(
        f"is of another class, {name}"
        if name != known.__name__
        else f"unknown option {', '.join(unknown[:3])}",
        where=path,
        remedy=f"give a {known.__name__}, saved by a version of diffusers no newer than this one",
    )


def _unet_shape(network: nn.Module, folder: Path) -> ImageShape:
    config = cast(Any, network).config
    size = config.sample_size
    sides = [size, size] if isinstance(size, int) else list(size or [])
    factor = 2 ** (len(config.block_out_channels) - 1)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        problem = f"sample_size {size} does not say how large its images are"
    elif any(side % factor for side in sides):
        problem = f"sample_size {size} cannot be halved as often as its blocks do"
    else:
        return ImageShape(config.in_channels, *sides)
    raise ModelError(
        problem,
        where=folder / NETWORK_FILE,
        remedy="write the height and width of the images it was trained on there, multiples of "
        f'{factor}: "sample_size": [{8 * factor}, {8 * factor}]',
    )


def _unet_condition(network: nn.Module) -> ConditionKind:
    return "nothing" if cast(Any, network).class_embedding is None else "class label"


def predict_by_unet(
    network: nn.Module, noisy: Tensor, timesteps: Tensor, conditions: Sequence[Condition] | None
) -> Tensor:
    """Ask an unconditional network as diffusers calls them."""
    if conditions is not None:
        raise ConfigurationError(
            f"the samples are of something ({conditions[0]!r}), and the model takes no condition",
            where=type(network).__name__,
            remedy="give samples without conditions",
        )
    return cast(Tensor, network(noisy, timesteps, return_dict=False)[0])


FAMILIES = (
    ModelFamily(
        class_name="UNet2DModel",
        load=_load_unet,
        image_shape=_unet_shape,
        conditioned_on=_unet_condition,
        predict=predict_by_unet,
        read_schedule=read_ddpm_schedule,
    ),
)
