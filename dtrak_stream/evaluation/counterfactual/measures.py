"""How far a query has moved: pixel distance, CLIP cosine, change of its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dtrak_stream.evaluation.counterfactual.queries import Pixels
from dtrak_stream.features.clip import ClipEncoder

Features = NDArray[np.float64]


def pixel_distance(first: Pixels, second: Pixels) -> float:
    """Return the L2 norm of the difference of two images, pixels in [-1, 1], not averaged."""
    difference = (first.astype(np.float64) - second.astype(np.float64)) / 127.5
    return float(np.linalg.norm(difference))


def cosine(first: Features, second: Features) -> float:
    """Return the cosine of two feature vectors."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def clip_features(name: str) -> Callable[[Sequence[Pixels]], Features]:
    """Load a CLIP model and return what turns images into their features (n, d).

    Raises
    ------
    DtrakStreamError
        If the model cannot be had; see `ClipEncoder`.
    """
    encoder = ClipEncoder(name, torch.device("cpu"))

    def features(images: Sequence[Pixels]) -> Features:
        # one by one: they may differ in size, and they are few
        return np.concatenate([encoder.encode(_scaled(each)).double().numpy() for each in images])

    return features


def _scaled(pixels: Pixels) -> torch.Tensor:
    """Return an image (H, W, C) uint8 as models take it: (1, C, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
