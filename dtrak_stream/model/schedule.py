"""How noise enters an image, and what a model is trained to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class NoiseSchedule:
    """How noise enters an image, per timestep. All tensors are (T,) float64 on the CPU.

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

    @property
    def num_timesteps(self) -> int:
        """Return T, the number of training timesteps."""
        return len(self.alphas_cumprod)

    def noisy_and_target(
        self, image: Tensor, noise: Tensor, timesteps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return x_t and what the denoiser should answer for it.

        x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4); the target is eps,
        v = sqrt(abar_t) eps - sqrt(1 - abar_t) x (Salimans and Ho 2022, appendix D), or x.

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
        kept = self.alphas_cumprod[timesteps.cpu()].to(noise.device)[:, None, None, None]
        signal, spread = kept.sqrt().to(noise.dtype), (1 - kept).sqrt().to(noise.dtype)
        noisy = signal * image + spread * noise
        if self.prediction_type == "epsilon":
            return noisy, noise
        if self.prediction_type == "v_prediction":
            return noisy, signal * noise - spread * image
        return noisy, image.expand_as(noisy)
