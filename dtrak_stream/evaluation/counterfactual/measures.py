"""How far a query has moved: pixel distance, CLIP cosine, change of its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.evaluation.counterfactual.queries import Pixels

# of the images CLIP was trained on, red, green and blue
_CLIP_MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)
_CLIP_STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)
_CLIP_BATCH = 16

Features = NDArray[np.float64]


def pixel_distance(first: Pixels, second: Pixels) -> float:
    """Return the L2 norm of the difference of two images, pixels in [-1, 1], not averaged."""
    difference = (first.astype(np.float64) - second.astype(np.float64)) / 127.5
    return float(np.linalg.norm(difference))


def cosine(first: Features, second: Features) -> float:
    """Return the cosine of two feature vectors."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def clip_features(folder: Path) -> Callable[[Sequence[Pixels]], Features]:
    """Load a CLIP model and return what turns images into their features (n, d).

    Images are enlarged bicubically until the shorter side fits, cut to the centre and normalised,
    as CLIP's own preprocessing does; grayscale becomes RGB.

    Raises
    ------
    ConfigurationError
        If the package transformers is not installed.
    ModelError
        If there is no CLIP model in the folder.
    """
    try:
        from transformers import CLIPModel
    except ImportError as error:
        raise ConfigurationError(
            "needs the package transformers",
            where="--clip",
            remedy="install it (the extra `clip` of this package does), or leave --clip out",
        ) from error
    try:
        loaded: Any = CLIPModel
        model = loaded.from_pretrained(folder, local_files_only=True).eval()
    except Exception as error:  # transformers and safetensors each raise their own
        raise ModelError(
            f"is not a CLIP model ({type(error).__name__}: {' '.join(str(error).split())[:200]})",
            where=folder,
            remedy="give a folder with config.json and model.safetensors",
        ) from error
    size: int = model.config.vision_config.image_size

    def features(images: Sequence[Pixels]) -> Features:
        parts = []
        for first in range(0, len(images), _CLIP_BATCH):
            batch = torch.stack([_prepared(each, size) for each in images[first:][:_CLIP_BATCH]])
            with torch.inference_mode():
                answer = model.get_image_features(pixel_values=batch)
            answer = getattr(answer, "pooler_output", answer)
            parts.append(answer.double().numpy())
        return np.concatenate(parts)

    return features


def _prepared(pixels: Pixels, size: int) -> torch.Tensor:
    """Return an image (H, W, C) as CLIP takes it, (3, size, size)."""
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert("RGB")
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    picture = picture.crop((left, top, left + size, top + size))
    values = np.asarray(picture, np.float32) / 255
    normal = (values - _CLIP_MEAN) / _CLIP_STD
    return torch.from_numpy(normal.transpose(2, 0, 1).copy())
