"""Families of models, a row each: another family is another row, and nothing else changes.

==============  ===========================  ================  ==================================
family          samples                      conditioned on    schedule
==============  ===========================  ================  ==================================
``UNet2DModel`` pixels in [-1, 1], as given  nothing           DDPM: epsilon, v_prediction, sample
==============  ===========================  ================  ==================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.denoiser import Predict
from dtrak_stream.model.schedule import DDPMSchedule, NoiseSchedule

ConditionKind: TypeAlias = Literal["nothing", "class label"]


@dataclass(frozen=True)
class ModelFamily:
    """How the models of one family are read and asked.

    Attributes
    ----------
    class_name
        Class of the network, as a pipeline's index names it.
    part
        What the pipeline calls the network: its entry in the index, and its subfolder.
    load
        (pipeline folder, dtype) -> the network on the CPU.
    image_shape
        Shape of the samples that a network takes.
    conditioned_on
        What a network is conditioned on.
    predict
        How a network is asked.
    read_schedule
        Pipeline folder -> the schedule, and the scheduler's configuration as saved.
    """

    class_name: str
    part: str
    load: Callable[[Path, torch.dtype], nn.Module]
    image_shape: Callable[[nn.Module], ImageShape]
    conditioned_on: Callable[[nn.Module], ConditionKind]
    predict: Predict
    read_schedule: Callable[[Path], tuple[NoiseSchedule, dict[str, Any]]]


def family_of(index: dict[str, Any], where: Path) -> ModelFamily:
    """Return the family that a pipeline's index names.

    Raises
    ------
    ModelError
        If there is no such family here.
    """
    for family in FAMILIES:
        if _class_of(index, family.part) == family.class_name:
            return family
    found = _class_of(index, "unet") or _class_of(index, "transformer")
    raise ModelError(
        f"unknown denoiser class {found}",
        where=where,
        remedy="give a pipeline whose denoiser is one of: "
        f"{', '.join(family.class_name for family in FAMILIES)}",
    )


def _class_of(index: dict[str, Any], part: str) -> str | None:
    entry = index.get(part)
    return entry[1] if isinstance(entry, list) and len(entry) == 2 else None


def _load_unet(root: Path, dtype: torch.dtype) -> nn.Module:
    from diffusers import UNet2DModel  # takes longer than all else together

    network = UNet2DModel.from_pretrained(
        root,
        subfolder="unet",
        torch_dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,  # the other way needs one more package for no gain here
    )
    return cast(nn.Module, network)


def _unet_shape(network: nn.Module) -> ImageShape:
    config = cast(Any, network).config
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return ImageShape(channels=config.in_channels, height=height, width=width)


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


def _read_ddpm(root: Path) -> tuple[NoiseSchedule, dict[str, Any]]:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_pretrained(root, subfolder="scheduler")
    return DDPMSchedule.of(scheduler), dict(scheduler.config)


FAMILIES = (
    ModelFamily(
        class_name="UNet2DModel",
        part="unet",
        load=_load_unet,
        image_shape=_unet_shape,
        conditioned_on=_unet_condition,
        predict=predict_by_unet,
        read_schedule=_read_ddpm,
    ),
)
