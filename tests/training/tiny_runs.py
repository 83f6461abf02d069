"""Training runs of a few steps, and ways to stop one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from PIL import Image

from dtrak_stream.training.batches import ImageBatches
from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    OptimisationOptions,
    TrainingConfig,
)
from dtrak_stream.training.run import train

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


TINY = ArchitectureOptions(
    block_out_channels=(8,), layers_per_block=1, attention_levels=(), norm_num_groups=4
)


EVERYTHING = ArchitectureOptions(
    block_out_channels=(8, 8),
    layers_per_block=1,
    attention_levels=(1,),
    norm_num_groups=4,
    time_scale_shift="scale_shift",
    dropout=0.2,
)


_OPTIMISATION = {field.name for field in dataclasses.fields(OptimisationOptions)}


def tiny(out: Path, **changes) -> TrainingConfig:
    """Four steps an epoch, three epochs, a checkpoint after each epoch."""
    options: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3}
    options |= {name: changes.pop(name) for name in list(changes) if name in _OPTIMISATION}
    config = TrainingConfig(
        images="sklearn:digits[0:28]",
        out=out,
        checkpoint_every=1,
        device="cpu",
        architecture=TINY,
        optimisation=OptimisationOptions(**options),
    )
    return dataclasses.replace(config, **changes)


def trained_bytes(config: TrainingConfig) -> bytes:
    train(config, visible=False)
    return (config.out / WEIGHTS).read_bytes()


def crash_at(monkeypatch, step: int, crash) -> None:
    """Call `crash` when the images of `step` (counted from 0) are asked for."""
    batch = ImageBatches.batch

    def crashing(self, number):
        if number == step:
            crash()
        return batch(self, number)

    monkeypatch.setattr(ImageBatches, "batch", crashing)


def power_cut() -> None:
    raise RuntimeError("power cut")


def folder_with_bad_images(folder: Path, bad: set[int]) -> Path:
    folder.mkdir()
    for number in range(12):
        path = folder / f"{number:02d}.png"
        Image.new("L", (8, 8), number * 20).save(path)
        if number in bad:
            path.write_bytes(path.read_bytes()[:40])
    return folder
