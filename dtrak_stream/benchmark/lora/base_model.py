"""Training the base model: the autoencoder first, then UNet and text encoder together."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from dtrak_stream.benchmark.lora.options import LoraBaseConfig
from dtrak_stream.benchmark.lora.parts import (
    GARMENTS,
    TOKENS,
    caption_of,
    make_autoencoder,
    make_network,
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
)
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.progress import progress
from dtrak_stream.support.provenance import flat_options
from dtrak_stream.support.transformers_package import silenced, transformers_package
from dtrak_stream.training.fingerprint import FINGERPRINT_FILE, begin_folder
from dtrak_stream.training.loop import own_random_state

_BATCH, _AT_A_TIME = 128, 500
_KL_WEIGHT = 1e-4
_AUTOENCODER_RATE, _NETWORK_RATE, _WEIGHT_DECAY = 2e-3, 1e-3, 1e-4
_DROPPED_CAPTIONS, _AVERAGING = 0.1, 0.005
_RECENT = 500
_INSTALL = "pip install transformers (the extra `text` of dtrak-stream)"


@dataclass(frozen=True)
class _Parts:
    tokenizer: Any
    text_encoder: Any
    autoencoder: Any
    network: Any
    scheduler: DDPMScheduler


def make_base_model(config: LoraBaseConfig) -> BenchmarkResult:
    """Train the model and save it as a pipeline of diffusers; one that is there is kept.

    Raises
    ------
    InputError, CorruptFileError
        If the images cannot be read.
    ConfigurationError
        If no folder of images is given.
    FingerprintMismatchError
        If OUT.work was begun with other options.
    """
    refuse_other_results(config.out, config)
    work = config.out.with_name(config.out.name + ".work")
    refuse_foreign_folder(work, FINGERPRINT_FILE, flag="--out, whose work lies in")
    transformers = transformers_package(where="lora-base", remedy=_INSTALL)
    measured_on, images = machine(), _open(config.fashion_mnist)
    options = {k: v for k, v in flat_options(config).items() if k not in ("out", "fashion-mnist")}
    begin_folder(work, options | {"images": images.identity()})
    pipeline, begin = work / "pipeline", time.perf_counter()
    losses: dict[str, float] = {}
    if not (pipeline / "model_index.json").is_file():
        with own_random_state(torch.device("cpu")), silenced(transformers):
            losses = _train(config, images, work)
    numbers = {"seconds": time.perf_counter() - begin, "losses": losses}
    return write_results(config.out, config, measured_on, numbers, _as_markdown(pipeline, numbers))


def _open(folder: Path | None) -> Images:
    if folder is None:
        raise ConfigurationError(
            "nothing to train on", where="--fashion-mnist", remedy="give --fashion-mnist FOLDER"
        )
    path = folder / "train-images-idx3-ubyte.gz"
    return open_images(str(path), conditioned_on="class label", visible=False)


def _train(config: LoraBaseConfig, images: Images, work: Path) -> dict[str, float]:
    torch.manual_seed(config.seed)
    tokenizer = make_tokenizer(work / "tokenizer")
    parts = _Parts(
        tokenizer,
        make_text_encoder(tokenizer),
        make_autoencoder(),
        make_network(),
        make_scheduler(),
    )
    pixels = _shrunk(images)
    labels = torch.tensor([int(each) for each in images.conditions(0, len(images)) or ()])
    losses = {"autoencoder": _train_autoencoder(parts.autoencoder, pixels, config)}
    latents = _latents(parts.autoencoder, pixels)
    losses["network"] = _train_network(parts, latents, labels, config)
    for part in (parts.autoencoder, parts.text_encoder, parts.network):
        part.half()  # half the bytes, and what is read from them is the model
    pipeline = StableDiffusionPipeline(
        vae=parts.autoencoder,
        text_encoder=parts.text_encoder,
        tokenizer=tokenizer,
        unet=parts.network,
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(work / "pipeline")
    return losses


def _shrunk(images: Images) -> Tensor:
    """Return (N, 1, 16, 16): a black frame makes 28 pixels 32, and means of 2x2 make them 16."""
    pixels = torch.stack([images.image(row) for row in range(len(images))])
    return F.interpolate(F.pad(pixels, (2, 2, 2, 2), value=-1.0), size=16, mode="area")


def _train_autoencoder(autoencoder: Any, pixels: Tensor, config: LoraBaseConfig) -> float:
    """Learn to give images back, with a little of the divergence; return the last loss."""
    steps = config.autoencoder_steps
    optimiser = torch.optim.AdamW(autoencoder.parameters(), _AUTOENCODER_RATE)
    rate = OneCycleLR(optimiser, _AUTOENCODER_RATE, total_steps=steps)
    with progress(steps, description="autoencoder", unit="step") as bar:
        for _ in range(steps):
            batch = pixels[torch.randint(len(pixels), (_BATCH,))]
            posterior = autoencoder.encode(batch).latent_dist
            given_back = autoencoder.decode(posterior.sample()).sample
            divergence = posterior.kl().mean() / 64  # a mean over the pixels of a latent channel
            loss = F.mse_loss(given_back, batch) + _KL_WEIGHT * divergence
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            bar.update()
    autoencoder.eval().requires_grad_(False)
    return float(loss.detach())


@torch.no_grad()
def _latents(autoencoder: Any, pixels: Tensor) -> Tensor:
    """Return (N, 4, 8, 8) of standard deviation 1, and let the autoencoder know the factor."""
    blocks = torch.split(pixels, _AT_A_TIME)
    latents = torch.cat([autoencoder.encode(block).latent_dist.mode() for block in blocks])
    autoencoder.register_to_config(scaling_factor=float(1 / latents.std()))
    scaled: Tensor = latents * autoencoder.config.scaling_factor
    return scaled


def _train_network(parts: _Parts, latents: Tensor, labels: Tensor, config: LoraBaseConfig) -> float:
    """Learn the noise of latents, told their captions; return the mean of the last losses.

    The averaged weights are left in the networks.
    """
    steps = config.network_steps
    tokens, untold = _tokens(parts.tokenizer), len(GARMENTS)
    parameters: list[nn.Parameter] = [
        *parts.network.parameters(),
        *parts.text_encoder.parameters(),
    ]
    optimiser = torch.optim.AdamW(parameters, _NETWORK_RATE, weight_decay=_WEIGHT_DECAY)
    rate = OneCycleLR(optimiser, _NETWORK_RATE, total_steps=steps)
    averages = [each.detach().clone() for each in parameters]
    losses: list[float] = []
    with progress(steps, description="network", unit="step") as bar:
        for _ in range(steps):
            rows = torch.randint(len(latents), (_BATCH,))
            clean, told = latents[rows], labels[rows].clone()
            told[torch.rand(_BATCH) < _DROPPED_CAPTIONS] = untold
            timesteps, noise = torch.randint(1000, (_BATCH,)), torch.randn_like(clean)
            noisy: Any = parts.scheduler.add_noise(clean, noise, timesteps)
            captions = parts.text_encoder(tokens)[0][told]  # (B, tokens, 32)
            loss = F.mse_loss(parts.network(noisy, timesteps, captions).sample, noise)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            rate.step()
            _average(averages, parameters, _AVERAGING)
            losses.append(loss.item())
            bar.update()
    _average(parameters, averages, 1.0)
    return statistics.fmean(losses[-_RECENT:])


@torch.no_grad()
def _average(moved: list[Any], towards: list[Any], share: float) -> None:
    for one, other in zip(moved, towards, strict=True):
        if share == 1:
            one.copy_(other)
        else:
            one.lerp_(other, share)


def _tokens(tokenizer: Any) -> Tensor:
    """Return (11, tokens): the caption of each class, and the empty one."""
    texts = [*map(caption_of, GARMENTS), ""]
    told = tokenizer(
        texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    )
    tokens: Tensor = told.input_ids
    return tokens


def _as_markdown(pipeline: Path, numbers: dict[str, Any]) -> str:
    rows = [[name, f"{loss:.4f}"] for name, loss in numbers["losses"].items()]
    story = f"`{pipeline}`, trained in {numbers['seconds']:,.0f} s."
    return f"# Base model of the LoRA benchmark\n\n{story}\n\n{table(('part', 'last loss'), rows)}"
