"""Families of models, a row each: another family is another row, and nothing else changes.

=========================  ===============================  ==============  =================
family                     samples                          told            schedule
=========================  ===============================  ==============  =================
``UNet2DModel``            pixels in [-1, 1], as given; or  nothing, or a   DDPM: epsilon,
                           latents of the AutoencoderKL or  class label     v_prediction,
                           VQModel beside it                                sample
``DiTTransformer2DModel``  latents of the AutoencoderKL     a class label   DDPM
                           beside it
``UNet2DConditionModel``   the same                         a caption       DDPM
``PixArtTransformer2D      the same                         a caption       DDPM
Model``
``SD3Transformer2DModel``  the same                         a caption       flow matching
``FluxTransformer2D        the same; --size says their      a caption, and  flow matching
Model``                    side                             guidance
=========================  ===============================  ==============  =================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ModelError
from dtrak_stream.model.autoencoders import (
    AUTOENCODER_PARTS,
    find_autoencoder,
    require_autoencoder,
)
from dtrak_stream.model.conditioning import ClassLabels, Conditioner
from dtrak_stream.model.denoiser import Predict
from dtrak_stream.model.dit import answers_variance, dit_labels
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.model.flux import captions_of_flux, flux_schedule, flux_shape, pipeline_of_flux
from dtrak_stream.model.forward_passes import (
    predict_by_conditional_unet,
    predict_by_dit,
    predict_by_flux,
    predict_by_pixart,
    predict_by_sd3,
    predict_by_unet,
)
from dtrak_stream.model.model_folder import NETWORK_FILE, ModelFolder
from dtrak_stream.model.network_files import network_outline
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.own_pipeline import LoadedTexts, PipelineRow
from dtrak_stream.model.sample_shapes import square_shape, unet_shape
from dtrak_stream.model.saved_schedule import SavedSchedule, read_ddpm_schedule
from dtrak_stream.model.sd3 import (
    THIRD_TEXT_PARTS,
    captions_of_sd3,
    pipeline_of_sd3,
    sd3_schedule,
    sd3_shape,
)
from dtrak_stream.model.text_to_image import (
    SECOND_TEXT_PARTS,
    TEXT_PARTS,
    captions_of_pixart,
    captions_of_unet,
    conditional_unet_shape,
    pipeline_of_pixart,
    pipeline_of_unet,
)

Outline: TypeAlias = Callable[[str, Path], nn.Module]
SampleShape: TypeAlias = Callable[[nn.Module, ModelFolder, int | None], ImageShape]
ReadSchedule: TypeAlias = Callable[[Path, nn.Module, ImageShape], SavedSchedule]
Device: TypeAlias = torch.device | str
MakeConditioner: TypeAlias = Callable[
    [nn.Module, ModelFolder, ImageShape, LoadingOptions, Device], Conditioner | None
]
MakeFirstStage: TypeAlias = Callable[
    [ImageShape, ModelFolder, LoadingOptions, Device], FirstStage | None
]
DescribePipeline: TypeAlias = Callable[[nn.Module, ModelFolder, LoadedTexts], PipelineRow]


OF_SOME = frozenset({"guidance", "t5_tokens", "time_ids"})
"""Fields of `LoadingOptions` that mean something for some families only."""


@dataclass(frozen=True)
class ModelFamily:
    """How the models of one family are read and asked.

    Attributes
    ----------
    class_name
        Class of the network, as a pipeline's index names it.
    sample_shape
        (network, folder of the model, side) -> shape of what is noised: of that side where one is
        given, of the side that the network's configuration says where it is None.
    predict
        How a network is asked.
    read_schedule
        (folder of the scheduler, network, shape of what is noised) -> what it says of the model.
    make_conditioner
        (network, folder of the model, shape of images, options, device) -> what makes that of
        conditions which the network is told; None for a network that is told nothing.
    make_first_stage
        (shape of what is noised, folder of the model, options, device) -> what turns images into
        it; None where images are noised themselves.
    parts
        Names of the further parts that a pipeline may have: those that the two above read.
    options
        Those of `OF_SOME` that it understands.
    learns_variance
        Whether a network answers a variance too, where its scheduler does not say so.
    pipeline
        (network, folder of the model, what reads captions) -> how the pipeline of the family is
        called, which makes images of captions; None where they are made without one.
    outline
        (class, folder of the network) -> the network as it is configured, without weights.
    """

    class_name: str
    sample_shape: SampleShape
    predict: Predict
    read_schedule: ReadSchedule
    make_conditioner: MakeConditioner
    make_first_stage: MakeFirstStage
    parts: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    learns_variance: Callable[[nn.Module], bool] = lambda _: False
    pipeline: DescribePipeline | None = None
    outline: Outline = network_outline


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


def _class_labels(
    network: nn.Module,
    found: ModelFolder,
    _image: ImageShape,
    _options: LoadingOptions,
    _device: Device,
) -> ClassLabels | None:
    """Return how a UNet2DModel is told its class, if it is told any."""
    unet = cast(Any, network)
    if unet.class_embedding is None:
        return None
    if isinstance(unet.class_embedding, nn.Embedding):
        return ClassLabels(unet.class_embedding.num_embeddings)
    raise ModelError(
        f"class_embed_type {unet.config.class_embed_type!r} is told numbers that are no labels",
        where=found.network / NETWORK_FILE,
        remedy="give a model with num_class_embeds, or an unconditional one",
    )


def _ddpm_schedule(folder: Path, _network: nn.Module, _shape: ImageShape) -> SavedSchedule:
    return read_ddpm_schedule(folder)


FAMILIES = (
    ModelFamily(
        class_name="UNet2DModel",
        sample_shape=unet_shape,
        predict=predict_by_unet,
        read_schedule=_ddpm_schedule,
        make_conditioner=_class_labels,
        make_first_stage=find_autoencoder,
        parts=AUTOENCODER_PARTS,
    ),
    ModelFamily(
        class_name="DiTTransformer2DModel",
        sample_shape=square_shape,
        predict=predict_by_dit,
        read_schedule=_ddpm_schedule,
        make_conditioner=lambda network, *_: dit_labels(network),
        make_first_stage=require_autoencoder,
        parts=AUTOENCODER_PARTS,
        learns_variance=answers_variance,
    ),
    ModelFamily(
        class_name="UNet2DConditionModel",
        sample_shape=conditional_unet_shape,
        predict=predict_by_conditional_unet,
        read_schedule=_ddpm_schedule,
        make_conditioner=captions_of_unet,
        make_first_stage=require_autoencoder,
        pipeline=pipeline_of_unet,
        parts=AUTOENCODER_PARTS | TEXT_PARTS | SECOND_TEXT_PARTS,
        options=frozenset({"time_ids"}),
    ),
    ModelFamily(
        class_name="PixArtTransformer2DModel",
        sample_shape=square_shape,
        predict=predict_by_pixart,
        read_schedule=_ddpm_schedule,
        make_conditioner=captions_of_pixart,
        make_first_stage=require_autoencoder,
        pipeline=pipeline_of_pixart,
        parts=AUTOENCODER_PARTS | TEXT_PARTS,
        options=frozenset({"t5_tokens"}),
        learns_variance=answers_variance,
    ),
    ModelFamily(
        class_name="SD3Transformer2DModel",
        sample_shape=sd3_shape,
        predict=predict_by_sd3,
        read_schedule=sd3_schedule,
        make_conditioner=captions_of_sd3,
        make_first_stage=require_autoencoder,
        pipeline=pipeline_of_sd3,
        parts=AUTOENCODER_PARTS | TEXT_PARTS | SECOND_TEXT_PARTS | THIRD_TEXT_PARTS,
        options=frozenset({"t5_tokens"}),
    ),
    ModelFamily(
        class_name="FluxTransformer2DModel",
        sample_shape=flux_shape,
        predict=predict_by_flux,
        read_schedule=flux_schedule,
        make_conditioner=captions_of_flux,
        make_first_stage=require_autoencoder,
        pipeline=pipeline_of_flux,
        parts=AUTOENCODER_PARTS | TEXT_PARTS | SECOND_TEXT_PARTS,
        options=frozenset({"guidance", "t5_tokens"}),
    ),
)
