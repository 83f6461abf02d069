"""From images to stored rows: encoder and map to rows as one thing, within memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import ConditionKind, SampleBatch, Samples
from dtrak_stream.features.encoder import ImageEncoder
from dtrak_stream.features.maker import WithoutGradients, fingerprint, in_fitting_batches
from dtrak_stream.features.vector_maps import VectorMap
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.device import moved
from dtrak_stream.support.timing import StageTimer


@dataclass
class ImageFeaturizer(WithoutGradients):
    """Turns images into features without a diffusion model; a `FeatureMaker`.

    Attributes
    ----------
    encoder
        Maps an image to numbers.
    rows
        Maps those to a feature.
    shape
        Shape of the images.
    device
        Where it computes.
    timer
        Told how long both take.
    batch_size
        Images encoded at a time. Halved whenever the device runs out of memory.
    """

    encoder: ImageEncoder
    rows: VectorMap
    shape: ImageShape
    device: torch.device
    timer: StageTimer = field(repr=False)
    batch_size: int = 64
    smallest_batch: ClassVar[str] = "one image"

    def serves(self, shape: ImageShape, bandwidth: float | None) -> bool:
        """Return whether it computes the features of images of a shape, with this bandwidth."""
        return self.shape == shape and self.rows.identity().get("bandwidth") == bandwidth

    @property
    def wanted_shape(self) -> None:
        """Return None: it was set up for the shape that the images have."""

    @property
    def conditioned_on(self) -> ConditionKind:
        """Return that nothing is to be known of an image."""
        return "nothing"

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory the weights of the encoder take."""
        return self.encoder.weight_bytes

    @property
    def pairs(self) -> int:
        """Return 1: an image goes through the encoder once."""
        return 1

    @property
    def width(self) -> int:
        """Return k, the length of a feature."""
        return self.rows.width

    def features(self, samples: SampleBatch) -> Tensor:
        """Return the features of B images: (B, k) float32 on the CPU.

        Raises
        ------
        MemoryLimitError
            If the device has no room for one image.
        """
        with repeatable(self.device):
            return in_fitting_batches(self, self._batch, samples)

    def fingerprints(
        self, samples: Samples, dtype: str, rows_per_shard: int
    ) -> tuple[Fingerprint, ...]:
        """Return what the features depend on: no denoiser, no timesteps, no noise."""
        identity = {
            "model": self.encoder.model,
            "weights": self.encoder.weights,
            "parameters": "none",
            "num_parameters": self.encoder.length,
            "output_function": self.rows.name_of(self.encoder.name),
            "timesteps": (),
            "noise_keying": "none",
            "noise_draws": 0,
            "image_shape": str(self.shape),
            "precision": "float32",
            **self.rows.identity(),
        }
        return (fingerprint(identity, samples, dtype, rows_per_shard),)

    def remarks(self) -> list[str]:
        """Return nothing."""
        return []

    def _batch(self, samples: SampleBatch) -> Tensor:
        with self.timer.stage("forward"):
            encoded = moved(self.encoder.encode(samples.tensors), self.device)
        with self.timer.stage("projection"):
            out = self.rows(encoded)  # (B, length) -> (B, k)
        with self.timer.stage("copy"):
            return out.cpu()

    def shrink(self, tried: int) -> bool:
        """Take smaller batches from now on."""
        self.batch_size = max(1, tried // 2)
        return tried > 1
