"""How noise enters an image, and what a model is trained to answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
import xxhash
from torch import Tensor

from dtrak_stream.errors import ModelError
from dtrak_stream.model.prediction_types import PREDICTION_TYPES, PredictionType
from dtrak_stream.support.device import moved

if TYPE_CHECKING:  # importing it takes longer than all else together: only who loads a model does
    from diffusers import DDPMScheduler


class NoiseSchedule(Protocol):
    """How a family of models mixes images with noise: all that others may know of it."""

    @property
    def num_timesteps(self) -> int:
        """Return T: the model was trained at the timesteps 0 to T - 1."""

    @property
    def identity(self) -> str:
        """Return what it is, for fingerprints: equal strings mean the same numbers."""

    def noisy_and_target(
        self, image: Tensor, noise: Tensor, timesteps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return x_t and what the denoiser should answer for it.

        Parameters
        ----------
        image, noise
            (B, C, H, W), or anything that broadcasts to it.
        timesteps
            (B,) int64.

        Returns
        -------
        noisy, target
            Both (B, C, H, W), in the dtype of `noise`.
        """

    def network_times(self, timesteps: Tensor) -> Tensor:
        """Return what the network is told as the time of `timesteps` (B,) int64: (B,)."""

    def elbo_weight(self, timesteps: Tensor) -> Tensor:
        """Return what mean_D (output - target)^2 counts in the variational bound.

        Parameters
        ----------
        timesteps
            (B,) int64.

        Returns
        -------
        Tensor
            (B,) float64; not finite at a timestep where the bound has no such term.
        """


@dataclass(frozen=True)
class DDPMSchedule:
    """Noise that keeps the variance (Ho et al. 2020). All tensors are (T,) float64 on the CPU.

    Attributes
    ----------
    alphas_cumprod
        Share of signal variance kept at each timestep (abar_t).
    betas
        Variance added at each timestep.
    prediction_type
        What the denoiser is trained to predict.
    """

    alphas_cumprod: Tensor
    betas: Tensor
    prediction_type: PredictionType
    _elsewhere: dict[torch.device, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls, scheduler: DDPMScheduler, *, where: object = "scheduler_config.json"
    ) -> DDPMSchedule:
        """Return the numbers of a scheduler of diffusers, in float64.

        Its own abar_t is not asked: some samplers change the last one, to divide by it.

        Parameters
        ----------
        scheduler
            A scheduler of the DDPM family.
        where
            Where it came from, for the refusal.

        Raises
        ------
        ModelError
            If it predicts something unknown.
        """
        prediction_type = scheduler.config.prediction_type
        if prediction_type not in PREDICTION_TYPES:
            raise ModelError(
                f"unknown prediction type {prediction_type!r}",
                where=where,
                remedy=f"use one of: {', '.join(PREDICTION_TYPES)}",
            )
        kept = torch.cumprod(1.0 - scheduler.betas, dim=0)
        return cls(kept.double(), scheduler.betas.double(), prediction_type)

    @property
    def num_timesteps(self) -> int:
        """Return T, the number of training timesteps."""
        return len(self.alphas_cumprod)

    @property
    def identity(self) -> str:
        """Return the prediction type and a hash of all numbers."""
        numbers = torch.stack([self.alphas_cumprod, self.betas]).numpy().tobytes()
        return f"predicting {self.prediction_type}, schedule {xxhash.xxh3_64_hexdigest(numbers)}"

    def noisy_and_target(
        self, image: Tensor, noise: Tensor, timesteps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return x_t and what the denoiser should answer; see `NoiseSchedule.noisy_and_target`.

        x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4); the target is eps,
        v = sqrt(abar_t) eps - sqrt(1 - abar_t) x (Salimans and Ho 2022, appendix D), or x.
        """
        kept, _ = self._at(timesteps)
        kept = kept[:, None, None, None]  # (B,) -> (B, 1, 1, 1)
        signal, spread = kept.sqrt().to(noise.dtype), (1 - kept).sqrt().to(noise.dtype)
        noisy = signal * image + spread * noise
        if self.prediction_type == "epsilon":
            return noisy, noise
        if self.prediction_type == "v_prediction":
            return noisy, signal * noise - spread * image
        return noisy, image.expand_as(noisy)

    def network_times(self, timesteps: Tensor) -> Tensor:
        """Return the timesteps themselves."""
        return timesteps

    def elbo_weight(self, timesteps: Tensor) -> Tensor:
        """Return w_t = beta_t / (2 alpha_t (1 - abar_t)) of the noise error that the output's is.

        eps_hat - eps is sqrt(abar_t) (v_hat - v), or -sqrt(abar_t / (1 - abar_t)) (x_hat - x).
        Where nothing of the image is kept (a terminal signal-to-noise ratio of zero), alpha_t and
        abar_t are 0 and their ratio is abar_(t-1): v and x have a finite weight there, and noise,
        whose error says nothing of the image, has none.
        """
        kept, beta = self._at(timesteps)
        alpha = 1 - beta
        kept_before = torch.where(alpha == 0, self._at(timesteps - 1)[0], kept / alpha)
        noise_error_by_alpha = {
            "epsilon": 1 / alpha,
            "v_prediction": kept_before,
            "sample": kept_before / (1 - kept),
        }
        return beta / (2 * (1 - kept)) * noise_error_by_alpha[self.prediction_type]

    def _at(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return abar_t and beta_t (B,), looked up where `timesteps` (B,) are."""
        device = timesteps.device
        if device not in self._elsewhere:
            with torch.inference_mode(False):  # what is kept must serve gradients too
                kept_there = moved(self.alphas_cumprod, device), moved(self.betas, device)
            self._elsewhere[device] = kept_there
        kept, beta = self._elsewhere[device]
        return kept[timesteps], beta[timesteps]
