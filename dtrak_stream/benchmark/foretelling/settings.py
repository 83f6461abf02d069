"""What is planned and run: a model, random images for it, and the options of both commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, StableDiffusionPipeline
from PIL import Image

from dtrak_stream.benchmark.featurizing.options import ModelName
from dtrak_stream.benchmark.featurizing.subject import random_unet
from dtrak_stream.benchmark.foretelling.options import SettingName
from dtrak_stream.benchmark.lora.parts import make_autoencoder, make_scheduler, make_tokenizer
from dtrak_stream.benchmark.size.networks import random_network, save_random_lora
from dtrak_stream.benchmark.size.options import NetworkName
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.methods import features_of, find_method
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.support.transformers_package import silenced, transformers_package

_RANK = 8
_INSTALL = "pip install transformers (the extra `text` of dtrak-stream)"


@dataclass(frozen=True)
class _Kind:
    """A setting: its method, how many images it has, and which network."""

    method: str
    images: int
    unet: ModelName | None = None
    text_to_image: NetworkName | None = None


_KINDS: dict[SettingName, _Kind] = {
    "tiny": _Kind("best", 64),
    "tiny-lora": _Kind("trak", 4, text_to_image="tiny"),
    "digits-best": _Kind("best", 60_000),
    "digits-d-trak": _Kind("d-trak", 6_000),
    "3.1M": _Kind("best", 1_000, unet="rgb32"),
    "35.7M": _Kind("best", 200, unet="cifar"),
    "sd-1.5": _Kind("trak", 3, text_to_image="sd-1.5"),
}


@dataclass(frozen=True)
class Setting:
    """What is planned and run.

    Attributes
    ----------
    name
        Which.
    images
        How many it has.
    plan, run
        The options of both commands.
    """

    name: SettingName
    images: int
    plan: PlanConfig
    run: FeaturizeConfig


def make_setting(name: SettingName, count: int | None, folder: Path) -> Setting:
    """Write a model and so many images (default: by setting) to a new folder.

    Raises
    ------
    ConfigurationError
        If the package transformers is needed and not installed.
    """
    kind = _KINDS[name]
    count, options = count or kind.images, FeatureOptions()
    model = EMBEDDED_MODEL if name == "tiny" or name.startswith("digits") else str(folder / "model")
    if kind.unet is not None:
        DDPMPipeline(random_unet(kind.unet), DDPMScheduler()).save_pretrained(model)
        source = _save_array(folder, (count, 32, 32, 3))
    elif kind.text_to_image is not None:
        side, channels = _save_pipeline(kind.text_to_image, folder)
        source = _save_captioned(folder / "images", count, side, channels)
        options = FeatureOptions(
            timesteps="2", lora=(str(folder / "lora.safetensors"),), precision="bfloat16"
        )
    else:
        source = _save_array(folder, (count, 8, 8))
    features = features_of(find_method(kind.method), options)
    plan = PlanConfig(
        train_samples=count,
        query_samples=1,
        model=model,
        run=folder / "planned",
        score_options=ScoreOptions(method=kind.method),
        features=features,
        quiet=True,
    )
    run = FeaturizeConfig(source, folder / "store", model, features=features, quiet=True)
    return Setting(name, count, plan, run)


def _save_array(folder: Path, size: tuple[int, ...]) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    np.savez(folder / "images.npz", images=pixels)
    return f"{folder / 'images.npz'}:images"


def _save_captioned(folder: Path, count: int, side: int, channels: int) -> str:
    """Save random images, each with a caption of its own beside it."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 256, (side, side, channels), dtype=np.uint8).squeeze()
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a photo of a dress {number}")
    return str(folder)


def _save_pipeline(name: NetworkName, folder: Path) -> tuple[int, int]:
    """Save a pipeline and a LoRA for it; return the side and the channels of its images."""
    transformers = transformers_package(where=f"--settings {name}", remedy=_INSTALL)
    tiny = name == "tiny"
    with silenced(transformers):
        tokenizer = make_tokenizer(folder / "tokenizer")
        tokenizer.model_max_length = 77
        network = random_network(name, torch.float32)
        save_random_lora(network, _RANK, folder / "lora.safetensors")
        StableDiffusionPipeline(
            vae=make_autoencoder() if tiny else _autoencoder(),
            text_encoder=_text_encoder(transformers, tokenizer, tiny=tiny),
            tokenizer=tokenizer,
            unet=network,
            scheduler=make_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder / "model")
    return (16, 1) if tiny else (512, 3)


def _autoencoder() -> AutoencoderKL:
    """Return the autoencoder of Stable Diffusion 1.5, with random weights."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )


def _text_encoder(transformers: Any, tokenizer: Any, *, tiny: bool) -> Any:
    """Return the text encoder of Stable Diffusion 1.5 with random weights, or a tiny one."""
    size = {
        "vocab_size": 1000 if tiny else 49_408,
        "hidden_size": 8 if tiny else 768,
        "intermediate_size": 16 if tiny else 3072,
        "num_hidden_layers": 1 if tiny else 12,
        "num_attention_heads": 2 if tiny else 12,
        "projection_dim": 8 if tiny else 768,
    }
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
    }
    config = transformers.CLIPTextConfig(**size, **ids, max_position_embeddings=77)
    return transformers.CLIPTextModel(config)
