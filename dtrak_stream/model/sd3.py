"""What is to be known of an `SD3Transformer2DModel`: Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.captions import Captions
from dtrak_stream.model.flow_schedule import read_flow_schedule
from dtrak_stream.model.joint_text_encoders import TwoClipsAndT5
from dtrak_stream.model.model_folder import NETWORK_FILE, ModelFolder
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.own_pipeline import LoadedTexts, PipelineRow
from dtrak_stream.model.sample_shapes import refuse_told_an_image
from dtrak_stream.model.saved_schedule import SavedSchedule
from dtrak_stream.model.text_parts import CLIP_TOKENIZERS, T5_TOKENIZERS, TextPart, load_text_part

THIRD_TEXT_PARTS = frozenset({"tokenizer_3", "text_encoder_3"})
_T5_TOKENS = 256  # what its pipeline takes where it is not told
_MOST_T5_TOKENS = 512  # that its pipeline takes
_CLIP = "CLIPTextModelWithProjection"


def sd3_shape(network: nn.Module, found: ModelFolder, side: int | None) -> ImageShape:
    """Return the shape of the square latents that it takes; see `ModelFamily.sample_shape`.

    Raises
    ------
    ModelError
        If it is told an image too, or its configuration says a size that it does not take.
    ConfigurationError
        If it does not take the size that is given.
    """
    config = cast(Any, network).config
    path = found.network / NETWORK_FILE
    refuse_told_an_image(network, path)
    size, patch = config.sample_size if side is None else side, config.patch_size
    largest = config.pos_embed_max_size * patch
    if size % patch:
        problem = f"latents {size} wide cannot be cut into patches of {patch}"
    elif size > largest:
        problem = f"latents {size} wide have more places than it knows, and {largest} have as many"
    else:
        return ImageShape(config.in_channels, size, size)
    if side is None:
        raise ModelError(
            problem, where=path, remedy="write the sample_size there that it was trained on"
        )
    raise ConfigurationError(problem, where="--size", remedy="give the size it was trained at")


def sd3_schedule(folder: Path, network: nn.Module, shape: ImageShape) -> SavedSchedule:
    """Return what a scheduler says, for as many tokens as latents have patches.

    Raises
    ------
    InputError, ModelError
        See `read_flow_schedule`.
    """
    patch = cast(Any, network).config.patch_size
    return read_flow_schedule(folder, (shape.height // patch) * (shape.width // patch))


def captions_of_sd3(
    network: nn.Module,
    found: ModelFolder,
    _image: ImageShape,
    options: LoadingOptions,
    device: torch.device | str,
) -> Captions:
    """Return how it is told captions: by two CLIPs, and T5 where the pipeline has it.

    T5 reads 256 tokens, as the pipeline does that images are generated with; the training script
    of diffusers takes 77 unless told otherwise, which `t5_tokens` then says.

    Raises
    ------
    ModelError
        If a part is missing or not understood, or is wider than what the network reads.
    """
    length = options.t5_tokens or _T5_TOKENS
    parts = [
        load_text_part(found, _CLIP, CLIP_TOKENIZERS, device=device, suffix=suffix)
        for suffix in ("", "_2")
    ]
    width = cast(Any, network).config.joint_attention_dim
    _refuse_wider(parts, width, found)
    if "text_encoder_3" in found.further:
        third = load_text_part(
            found, "T5EncoderModel", T5_TOKENIZERS, device=device, suffix="_3", max_tokens=length
        )
        parts.append(third)
    return Captions(TwoClipsAndT5(tuple(parts), width, length))


def pipeline_of_sd3(_network: nn.Module, found: ModelFolder, texts: LoadedTexts) -> PipelineRow:
    """Return how it makes images, with T5 or with zeros in its place."""
    missing = THIRD_TEXT_PARTS - found.further.keys()
    return PipelineRow(
        "StableDiffusion3Pipeline",
        28,
        7.0,
        options=dict.fromkeys(missing),
        tokens=cast(TwoClipsAndT5, texts).t5_tokens,
        most_tokens=_MOST_T5_TOKENS,
    )


def _refuse_wider(parts: list[TextPart], width: int, found: ModelFolder) -> None:
    both = sum(part.encoder.config.hidden_size for part in parts)
    if both > width:
        raise ModelError(
            f"its text encoders answer {both} numbers for a token, and its network reads {width}",
            where=found.named_by,
            remedy="give the text encoders that the model was trained with",
        )
