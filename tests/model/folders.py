"""Model folders of tiny networks, as diffusers and training scripts leave them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import build_unet

WEIGHTS = "diffusion_pytorch_model.safetensors"


def unet_with(**options: Any) -> UNet2DModel:
    """Return a tiny network with other options than usual."""
    usual = {k: v for k, v in build_unet().config.items() if not k.startswith("_")}
    return UNet2DModel(**{**usual, **options}).eval()


def pipeline(folder: Path, unet: UNet2DModel | None = None, **scheduler: Any) -> Path:
    """Save a network and its scheduler as a pipeline."""
    DDPMPipeline(unet or build_unet(), DDPMScheduler(**scheduler)).save_pretrained(folder)
    return folder


@contextmanager
def editing(path: Path) -> Iterator[dict[str, Any]]:
    """Change a JSON file."""
    config = json.loads(path.read_text())
    yield config
    path.write_text(json.dumps(config))


@contextmanager
def editing_weights(folder: Path) -> Iterator[dict[str, Tensor]]:
    """Change the weights in the folder of a network."""
    weights = load_file(folder / WEIGHTS)
    yield weights
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
