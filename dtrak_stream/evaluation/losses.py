"""The loss of images under a model: a mean over timesteps and noise draws that all models share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.data.images import Images
from dtrak_stream.data.samples import SampleBatch, read_batch
from dtrak_stream.errors import ModelError
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.objective.timesteps import choose_timesteps
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.device import on_device

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class LossMeter:
    """Measures losses under one model.

    Attributes
    ----------
    denoiser
        The model, in evaluation mode.
    options
        Timesteps and noise.
    """

    denoiser: Denoiser
    options: LossOptions

    def of_images(self, images: Images) -> Losses:
        """Return the loss of each image, (Q,) float64; NaN for one that cannot be read.

        Images are decoded in blocks as large as a batch, so that memory does not grow with Q.

        Raises
        ------
        ModelError
            If the model gives a loss that is not finite.
        """
        losses = np.full(len(images), np.nan)
        for first in range(0, len(images), self.options.loss_batch):
            rows = range(first, min(first + self.options.loss_batch, len(images)))
            samples, reasons = read_batch(images, rows)
            if len(samples):
                places = [row for row in rows if row not in reasons]
                losses[places] = self.of_batch(samples)
        return losses

    @torch.inference_mode()
    def of_batch(self, samples: SampleBatch) -> Losses:
        """Return the loss of each of B images, (B,) float64.

        L(x) = mean over t and draws of mean_D (output - target)^2: `simple`, the training loss.
        """
        schedule = self.denoiser.schedule
        timesteps = choose_timesteps(self.options.loss_timesteps, schedule.num_timesteps)
        pairs = [(t, draw) for t in timesteps for draw in range(self.options.loss_draws)]
        together = max(1, self.options.loss_batch // len(samples))
        device = self.denoiser.device
        samples = self.denoiser.encoded(samples.to(device))
        total = torch.zeros(len(samples), dtype=torch.float64, device=device)
        with repeatable(device):
            for first in range(0, len(pairs), together):
                total += self._sum_over(pairs[first : first + together], samples)
        losses = (total / len(pairs)).cpu().numpy()
        if not np.isfinite(losses).all():
            raise ModelError(
                "gives a loss that is not finite",
                where=self.denoiser.folder,
                remedy="train it again with a lower learning rate",
            )
        return np.asarray(losses, dtype=np.float64)

    def _sum_over(self, pairs: list[tuple[int, int]], samples: SampleBatch) -> Tensor:
        images = samples.tensors
        shape = (images.shape[1], images.shape[2], images.shape[3])
        noise = ImageNoise(self.options.loss_seed).draw(
            shape, sample_id="", pairs=pairs, device=images.device
        )
        rows, count = noise.repeat_interleave(len(images), dim=0), len(pairs)  # (P * B, C, H, W)
        times = on_device([t for t, _ in pairs], images.device)
        times = times.repeat_interleave(len(images))  # (P * B,)
        schedule = self.denoiser.schedule
        noisy, target = schedule.noisy_and_target(images.repeat(count, 1, 1, 1), rows, times)
        simple = OutputFunction("simple", schedule)
        told = {
            name: each.repeat(count, *[1] * (each.ndim - 1))
            for name, each in (samples.inputs or {}).items()
        }  # (B, ...) -> (P * B, ...)
        losses = simple(self.denoiser.predict(noisy, times, told), target, times)
        return losses.double().reshape(count, -1).sum(dim=0)  # (P * B,) -> (B,)
