"""Tiny text-to-image pipelines of the real classes, as `save_pretrained` leaves them."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from diffusers import (
    DDPMScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, processors

from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.support.transformers_package import silenced
from tests.model.pipelines import TinyPipeline, autoencoder_kl

SIZE = 16  # pixels of a side; latents have half of them
TOKENS = 12
TEXTS = ("a red cat", "", "9 dogs")
_ENDS = ("<|startoftext|>", "<|endoftext|>")
_MERGES = ("c a", "ca t</w>", "d o", "do g</w>", "r e", "re d</w>")


def clip_tokenizer(folder: Path) -> Any:
    """Return a tokenizer of letters, digits and three words."""
    letters = string.ascii_lowercase + string.digits
    words = [merge.replace(" ", "") for merge in _MERGES]
    names = [*letters, *(each + "</w>" for each in letters), *words, *_ENDS]
    folder.mkdir(parents=True)
    vocabulary = {name: number for number, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *_MERGES)) + "\n")
    return transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=TOKENS)


def clip_text(width: int, seed: int, *, projected: bool = False, **options: Any) -> Any:
    """Return a text encoder of three layers for that tokenizer."""
    torch.manual_seed(seed)
    config = transformers.CLIPTextConfig(
        vocab_size=26 + 26 + 20 + 6 + 2,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=78,
        eos_token_id=79,
        pad_token_id=79,
        projection_dim=10,
        **options,
    )
    made = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return spread(made(config))


def t5_tokenizer(folder: Path) -> Any:
    """Return a tokenizer of T5's kind that knows letters, of both cases."""
    letters = [(each, -3.0) for each in string.ascii_letters + string.digits]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    options = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return cast(Any, transformers).T5TokenizerFast.from_pretrained(folder)


def t5_text(width: int) -> Any:
    """Return a text encoder of two layers for that tokenizer."""
    torch.manual_seed(5)
    config = transformers.T5Config(
        vocab_size=80,
        d_model=width,
        d_kv=4,
        d_ff=16,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        feed_forward_proj="gated-gelu",
    )
    return spread(transformers.T5EncoderModel(config))


def unet(width: int, **options: Any) -> UNet2DConditionModel:
    """Return a network for latents that attends to texts."""
    torch.manual_seed(0)
    usual = {
        "sample_size": SIZE // 2,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": width,
    }
    return spread(UNet2DConditionModel(**{**usual, **options}))


def _scheduler(prediction_type: str = "epsilon") -> DDPMScheduler:
    return DDPMScheduler(
        prediction_type=prediction_type,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def stable_diffusion(
    folder: Path, prediction_type: str = "epsilon", **options: Any
) -> StableDiffusionPipeline:
    """Return a pipeline of one text encoder, saved in a folder."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder_kl(scaling_factor=0.2),
        text_encoder=clip_text(8, 1),
        tokenizer=clip_tokenizer(folder / "made"),
        unet=unet(8, **options),
        scheduler=_scheduler(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return saved(pipeline, folder)


def stable_diffusion_xl(folder: Path, projection: int = 10 + 6 * 4) -> StableDiffusionXLPipeline:
    """Return a pipeline of two text encoders, saved in a folder."""
    network = unet(
        8 + 12,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=projection,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder_kl(scaling_factor=0.2),
        text_encoder=clip_text(8, 1),
        text_encoder_2=clip_text(12, 2, projected=True, hidden_act="gelu"),
        tokenizer=clip_tokenizer(folder / "made"),
        tokenizer_2=clip_tokenizer(folder / "made_2"),
        unet=network,
        scheduler=_scheduler(),
        add_watermarker=False,
    )
    return saved(pipeline, folder)


def pixart(folder: Path, *, told_shape: bool = False) -> PixArtAlphaPipeline:
    """Return a pipeline of T5 and a transformer that learns the variance, saved in a folder."""
    torch.manual_seed(0)
    network = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=6,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=12,
        sample_size=SIZE // 2,
        patch_size=2,
        caption_channels=8,
        use_additional_conditions=told_shape,
    )
    pipeline = PixArtAlphaPipeline(
        tokenizer=t5_tokenizer(folder / "made"),
        text_encoder=t5_text(8),
        vae=autoencoder_kl(scaling_factor=0.2),
        transformer=spread(network),
        scheduler=DDPMScheduler(),
    )
    return saved(pipeline, folder)


def spread(network: Any) -> Any:
    """Return a network whose weights are larger than at first: so every input shows."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def saved(pipeline: Any, folder: Path) -> Any:
    """Return a pipeline that is saved in `folder`/pipeline."""
    with silenced(transformers):
        pipeline.set_progress_bar_config(disable=True)
        pipeline.save_pretrained(folder / "pipeline")
    return pipeline


def row(make: Callable[[Path], Any], options: LoadingOptions | None = None) -> TinyPipeline:
    """Return a row of the table of tiny pipelines."""

    def save(folder: Path) -> str:
        make(folder)
        return str(folder / "pipeline")

    return TinyPipeline(save, TEXTS, options or LoadingOptions())


MAKERS: dict[str, Callable[[Path], Any]] = {
    "sd": stable_diffusion,
    "sd-v": lambda folder: stable_diffusion(folder, "v_prediction"),
    "sdxl": stable_diffusion_xl,
    "pixart": pixart,
    "pixart-shape": lambda folder: pixart(folder, told_shape=True),
}
"""Name of a family to what returns its pipeline and saves it in a folder called `pipeline`."""
TEXT_PIPELINES = {name: row(make) for name, make in MAKERS.items()}
"""The same as rows of the table of tiny pipelines. Images are 16 pixels wide."""
