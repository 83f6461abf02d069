"""Images that the LoRA of the benchmark makes of its own prompts, through diffusers' pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DDIMScheduler
from PIL import Image

from dtrak_stream.benchmark.lora.parts import DIGITS, prompt_of
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.own_pipeline import OwnPipeline, pipelines_silenced
from dtrak_stream.support.durable import durable_path
from dtrak_stream.support.progress import progress

METADATA = "metadata.jsonl"
_AT_A_TIME, _STEPS, _GUIDANCE = 20, 30, 2.0


def generate_digits(base: str, lora: str, out: Path, count: int, *, visible: bool) -> None:
    """Write images (16, 16) and metadata.jsonl, which tells the digit each was asked for.

    Digits take turns. Image i is made of noise of its own, seeded by i. Finished images are kept;
    metadata.jsonl comes last.

    Parameters
    ----------
    base
        The model.
    lora
        The LoRA.
    out
        Folder for the images.
    count
        How many.
    visible
        Whether to draw a progress bar.

    Raises
    ------
    DtrakStreamError
        If model or LoRA cannot be loaded; see `load_denoiser`.
    """
    if (out / METADATA).is_file():
        return
    out.mkdir(parents=True, exist_ok=True)
    pipeline = _pipeline(base, lora)
    with progress(count, description="generating", unit="image", visible=visible) as bar:
        for first in range(0, count, _AT_A_TIME):
            numbers = range(first, min(first + _AT_A_TIME, count))
            _save(pipeline, numbers, out)
            bar.update(len(numbers))
    lines = [
        json.dumps({"file_name": _name(number), "target": number % len(DIGITS)}) + "\n"
        for number in range(count)
    ]
    with durable_path(out / METADATA) as partial:
        partial.write_text("".join(lines))


def _pipeline(base: str, lora: str) -> Any:
    loading = LoadingOptions(loras=(LoraOptions(lora),))
    own = cast(OwnPipeline, load_denoiser(base, loading).pipeline)
    return own.build(DDIMScheduler.from_config(own.scheduler().config))


def _save(pipeline: Any, numbers: range, out: Path) -> None:
    with pipelines_silenced():
        made = pipeline(
            [prompt_of(number % len(DIGITS)) for number in numbers],
            num_inference_steps=_STEPS,
            guidance_scale=_GUIDANCE,
            height=16,
            width=16,
            generator=[torch.Generator().manual_seed(number) for number in numbers],
            output_type="np",
        ).images  # (B, 16, 16, 1) float32 in [0, 1]
    for number, pixels in zip(numbers, made[..., 0], strict=True):
        with durable_path(out / _name(number)) as partial:
            Image.fromarray((pixels * 255).round().astype("uint8")).save(partial, "PNG")


def _name(number: int) -> str:
    return f"{number:05d}.png"
