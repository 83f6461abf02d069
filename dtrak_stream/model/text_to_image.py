"""What text-to-image networks of diffusers take and are told, and which are not understood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import ImageOrigin
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.captions import Captions
from dtrak_stream.model.conditioning import ASPECT_RATIO, RESOLUTION, TIME_IDS, NetworkInputs
from dtrak_stream.model.model_folder import NETWORK_FILE, ModelFolder
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.own_pipeline import LoadedTexts, PipelineRow
from dtrak_stream.model.sample_shapes import refuse_told_an_image, sides_of
from dtrak_stream.model.text_encoders import LastLayer, LowercaseMasked, TwoPenultimateLayers
from dtrak_stream.model.text_parts import CLIP_TOKENIZERS, T5_TOKENIZERS, TextPart, load_text_part

TEXT_PARTS = frozenset({"tokenizer", "text_encoder"})
SECOND_TEXT_PARTS = frozenset({"tokenizer_2", "text_encoder_2"})
_TIME_IDS = 6
# of the pipelines, which say it nowhere in their folders
_TOKENS_OF_PIXART = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
_SIDE_OF_SHAPES = 128  # of the latents of networks that PixArtAlphaPipeline tells the shape
_ZEROS = "force_zeros_for_empty_prompt"
# options of a UNet2DConditionModel under which it is told something that no caption says
_TOLD_MORE: dict[str, tuple[object, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None, "text_time"),
    "encoder_hid_dim_type": (None,),
    "time_cond_proj_dim": (None,),
    "attention_type": ("default", None),
}


def refuse_other_inputs(network: nn.Module, folder: Path) -> None:
    """Refuse a UNet2DConditionModel that is asked with more than a sample, a time and a text.

    Raises
    ------
    ModelError
        Naming the option or the channels that say so.
    """
    config = cast(Any, network).config
    path = folder / NETWORK_FILE
    for name, understood in _TOLD_MORE.items():
        value = config.get(name)
        if value not in understood:
            raise ModelError(
                f"{name} {value!r}: it is told more than a caption, and nothing is known of that "
                "here",
                where=path,
                remedy="give a text-to-image model of Stable Diffusion 1.x, 2.x or XL that is not "
                "distilled",
            )
    refuse_told_an_image(network, path)


def conditional_unet_shape(network: nn.Module, found: ModelFolder, side: int | None) -> ImageShape:
    """Return the shape of the latents that a UNet2DConditionModel takes.

    Raises
    ------
    ModelError
        If it is told more than a sample, a time and a caption, or does not say how large they are.
    """
    refuse_other_inputs(network, found.network)
    config = cast(Any, network).config
    sides = sides_of(config, side)
    if sides is not None:
        return ImageShape(config.in_channels, *sides)
    raise ModelError(
        f"sample_size {config.sample_size} does not say how large its latents are",
        where=found.network / NETWORK_FILE,
        remedy="give the size of the images it was trained on with --size, or write the height "
        "and width of their latents there",
    )


def captions_of_unet(
    network: nn.Module,
    found: ModelFolder,
    image: ImageShape,
    options: LoadingOptions,
    device: torch.device | str,
) -> Captions:
    """Return how a UNet2DConditionModel is told captions: by one text encoder, or two.

    Stable Diffusion XL is told the size of the original image, where it was cropped and the size
    of the result, each (height, width) in pixels; see `TimeIds`. An image of which nothing else
    is known had the size that the model is trained on, and nothing was cropped from it.

    Raises
    ------
    ModelError
        If it is told other numbers, or a part is missing or not understood.
    ConfigurationError
        If it is told no sizes, and it is said which.
    """
    config = cast(Any, network).config
    _refuse_no_sizes(config, options)
    first = load_text_part(found, "CLIPTextModel", CLIP_TOKENIZERS, device=device)
    if config.addition_embed_type is None:
        _refuse_second_text(found)
        return Captions(LastLayer(first))
    second = load_text_part(
        found, "CLIPTextModelWithProjection", CLIP_TOKENIZERS, device=device, suffix="_2"
    )
    _refuse_other_time_ids(config, second, found)
    time_ids = TimeIds(image.height, image.width)
    return Captions(
        TwoPenultimateLayers(first, second),
        time_ids([ImageOrigin(image.height, image.width)]),
        of_origins=time_ids if options.time_ids == "image" else None,
    )


@dataclass(frozen=True)
class TimeIds:
    """What Stable Diffusion XL is told of sizes (Podell et al. 2023, section 2.2).

    In the order of diffusers' training scripts: original size, corner of the crop after resizing,
    size of the result.

    Attributes
    ----------
    height, width
        The size of the result, which is the model's.
    """

    height: int
    width: int

    def __call__(self, origins: Sequence[ImageOrigin]) -> NetworkInputs:
        """Return {"time_ids": (B, 6) float32} for what B images were."""
        rows = [[*origin, self.height, self.width] for origin in origins]
        return {TIME_IDS: torch.tensor(rows, dtype=torch.float32)}


def captions_of_pixart(
    network: nn.Module,
    found: ModelFolder,
    image: ImageShape,
    options: LoadingOptions,
    device: torch.device | str,
) -> Captions:
    """Return how a PixArtTransformer2DModel is told captions: by T5.

    Where it was trained on images of several shapes, it is told their height and width in pixels,
    and one over the other.

    Raises
    ------
    ModelError
        If a part is missing or not understood.
    """
    part = load_text_part(
        found,
        "T5EncoderModel",
        T5_TOKENIZERS,
        device=device,
        max_tokens=options.t5_tokens or _TOKENS_OF_PIXART.get(found.pipeline_class or ""),
    )
    shape: NetworkInputs = {
        RESOLUTION: torch.tensor([[float(image.height), float(image.width)]]),
        ASPECT_RATIO: torch.tensor([[image.height / image.width]]),
    }
    told = shape if cast(Any, network).use_additional_conditions else {}
    return Captions(LowercaseMasked(part), told)


def pipeline_of_unet(network: nn.Module, found: ModelFolder, _texts: LoadedTexts) -> PipelineRow:
    """Return how a UNet2DConditionModel makes images, with one text encoder or two."""
    if cast(Any, network).config.addition_embed_type is None:
        without_checker = {"safety_checker": None, "feature_extractor": None}
        options = {**without_checker, "requires_safety_checker": False}
        return PipelineRow("StableDiffusionPipeline", 50, 7.5, options=options)
    options = {"add_watermarker": False}
    if _ZEROS in found.index:  # whether there is nothing in place of an empty caption
        options[_ZEROS] = bool(found.index[_ZEROS])
    return PipelineRow("StableDiffusionXLPipeline", 50, 5.0, options=options)


def pipeline_of_pixart(network: nn.Module, found: ModelFolder, texts: LoadedTexts) -> PipelineRow:
    """Return how a PixArtTransformer2DModel makes images, of the shape it was trained on.

    Captions are not cleaned any further than they were for training.
    """
    told = {"clean_caption": False, "use_resolution_binning": False}
    name = found.pipeline_class
    usual, *_ = _TOKENS_OF_PIXART
    transformer = cast(Any, network)
    named = name if name in _TOKENS_OF_PIXART else usual
    tells_shapes = named == usual and transformer.config.sample_size == _SIDE_OF_SHAPES
    return PipelineRow(
        named,
        20,
        4.5,
        told,
        lacks="shapes" if transformer.use_additional_conditions and not tells_shapes else "",
        tokens=texts.max_tokens,
    )


def _refuse_no_sizes(config: Any, options: LoadingOptions) -> None:
    if config.addition_embed_type is None and options.time_ids != "image":
        raise ConfigurationError(
            "the network is told no sizes: only that of Stable Diffusion XL is",
            where=f"--time-ids {options.time_ids}",
            remedy="leave it out",
        )


def _refuse_second_text(found: ModelFolder) -> None:
    for name in sorted(SECOND_TEXT_PARTS & found.further.keys()):
        raise ModelError(
            f"has a {name}, which its network is not told of (addition_embed_type)",
            where=found.named_by,
            remedy="give a pipeline of the parts that diffusers saves for such a network",
        )


def _refuse_other_time_ids(config: Any, second: TextPart, found: ModelFolder) -> None:
    pooled = second.encoder.config.projection_dim
    numbers = config.projection_class_embeddings_input_dim - pooled
    if numbers == _TIME_IDS * config.addition_time_embed_dim:
        return
    raise ModelError(
        f"is told {numbers / config.addition_time_embed_dim:g} numbers besides {pooled} of a "
        f"text, and {_TIME_IDS} are of sizes and crop: it is a refiner, or has other encoders",
        where=found.network / NETWORK_FILE,
        remedy="give the base model of Stable Diffusion XL, with its own text encoders",
    )
