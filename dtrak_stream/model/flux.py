"""What is to be known of a `FluxTransformer2DModel`: Flux.1 dev and schnell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.captions import Captions
from dtrak_stream.model.conditioning import GUIDANCE, NetworkInputs
from dtrak_stream.model.flow_schedule import read_flow_schedule
from dtrak_stream.model.joint_text_encoders import PooledClipAndT5
from dtrak_stream.model.model_folder import NETWORK_FILE, ModelFolder
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.own_pipeline import LoadedTexts, PipelineRow
from dtrak_stream.model.sample_shapes import refuse_told_an_image
from dtrak_stream.model.saved_schedule import SavedSchedule
from dtrak_stream.model.text_parts import CLIP_TOKENIZERS, T5_TOKENIZERS, load_text_part

_SQUARE = 2  # the side of what becomes one token
_GUIDANCE = 3.5  # of its pipeline and of the training script
_T5_TOKENS, _T5_TOKENS_OF_SCHNELL = 512, 256
_STEPS, _STEPS_OF_SCHNELL = 28, 4
_TOLD_AN_IMAGE = "Kontext"  # its network has the channels of one that is told none


def flux_shape(network: nn.Module, found: ModelFolder, side: int | None) -> ImageShape:
    """Return the shape of the square latents that it takes, before they are packed.

    Raises
    ------
    ModelError
        If it is told an image too, or takes other tokens than squares of 2 x 2.
    ConfigurationError
        If no size is given, or one that cannot be cut into squares.
    """
    config = cast(Any, network).config
    path = found.network / NETWORK_FILE
    refuse_told_an_image(network, path)
    _refuse_pipeline_of_images(found)
    if config.patch_size != 1 or config.in_channels % _SQUARE**2:
        raise ModelError(
            f"patch_size {config.patch_size} and {config.in_channels} channels: its tokens are no "
            "squares of 2 x 2 latents",
            where=path,
            remedy="give a model of Flux.1",
        )
    if side is None:
        raise ConfigurationError(
            "the folder of a Flux model does not say how large the images are that it was "
            "trained on",
            where=path,
            remedy="give their side in pixels: --size 512",
        )
    if side % _SQUARE:
        raise ConfigurationError(
            f"makes latents {side} wide, which cannot be cut into squares of 2 x 2",
            where="--size",
            remedy="give the size it was trained at, a multiple of 16 with Flux's own autoencoder",
        )
    return ImageShape(config.in_channels // _SQUARE**2, side, side)


def flux_schedule(folder: Path, _network: nn.Module, shape: ImageShape) -> SavedSchedule:
    """Return what a scheduler says, for as many tokens as latents have squares of 2 x 2.

    Raises
    ------
    InputError, ModelError
        See `read_flow_schedule`.
    """
    return read_flow_schedule(folder, (shape.height // _SQUARE) * (shape.width // _SQUARE))


def captions_of_flux(
    network: nn.Module,
    found: ModelFolder,
    _image: ImageShape,
    options: LoadingOptions,
    device: torch.device | str,
) -> Captions:
    """Return how it is told captions, and the guidance that Flux.1 dev was distilled with.

    T5 reads 512 tokens, as in its pipeline and training script; 256 of Flux.1 schnell, which was
    distilled with so many and without guidance.

    Raises
    ------
    ModelError
        If a part is missing or not understood.
    ConfigurationError
        If guidance is given, and the network is not told any.
    """
    guided = bool(cast(Any, network).config.guidance_embeds)
    told = _guidance(guided, options.guidance)
    usual = _T5_TOKENS if guided else _T5_TOKENS_OF_SCHNELL
    clip = load_text_part(found, "CLIPTextModel", CLIP_TOKENIZERS, device=device)
    t5 = load_text_part(
        found,
        "T5EncoderModel",
        T5_TOKENIZERS,
        device=device,
        suffix="_2",
        max_tokens=options.t5_tokens or usual,
    )
    return Captions(PooledClipAndT5((clip, t5)), told)


def pipeline_of_flux(network: nn.Module, _found: ModelFolder, texts: LoadedTexts) -> PipelineRow:
    """Return how it makes images; that of Flux.1 schnell was distilled to a few steps."""
    guided = bool(cast(Any, network).config.guidance_embeds)
    return PipelineRow(
        "FluxPipeline",
        _STEPS if guided else _STEPS_OF_SCHNELL,
        _GUIDANCE if guided else None,
        tokens=texts.max_tokens,
        most_tokens=_T5_TOKENS,
    )


def _guidance(guided: bool, given: float | None) -> NetworkInputs:
    if guided:
        return {GUIDANCE: torch.tensor([_GUIDANCE if given is None else given])}
    if given is None:
        return {}
    raise ConfigurationError(
        "the network was not distilled with guidance (guidance_embeds), and is told none",
        where=f"--guidance {given:g}",
        remedy="leave it out",
    )


def _refuse_pipeline_of_images(found: ModelFolder) -> None:
    name = found.pipeline_class or ""
    if _TOLD_AN_IMAGE in name:
        raise ModelError(
            f"a {name} is told an image too",
            where=found.named_by,
            remedy="give a FluxPipeline, which makes images of captions alone",
        )
