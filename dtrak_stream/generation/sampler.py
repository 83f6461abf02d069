"""From noise to images, each image with its own random numbers."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from dtrak_stream.diffusion import Denoiser
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.noise import StreamKey

SamplerKind = Literal["ddim", "ddpm"]
_SEEDS = 2**32  # torch's CPU generator keeps 32 bits of its seed


class Sampler:
    """Turns noise into images, each with its own random numbers.

    Parameters
    ----------
    denoiser
        The model.
    kind
        `ddim` (Song et al. 2021) or `ddpm` (Ho et al. 2020).
    steps
        Number of timesteps.
    eta
        Share of fresh noise in a DDIM step.
    seed
        The user's seed.

    Raises
    ------
    ConfigurationError
        If there are more steps than the model has timesteps.
    """

    def __init__(
        self, denoiser: Denoiser, kind: SamplerKind, steps: int, eta: float, seed: int
    ) -> None:
        if steps > denoiser.schedule.num_timesteps:
            raise ConfigurationError(
                f"more than the model's {denoiser.schedule.num_timesteps} timesteps",
                where=f"--steps {steps}",
                remedy="give fewer",
            )
        scheduler_class = DDIMScheduler if kind == "ddim" else DDPMScheduler
        self._scheduler = scheduler_class.from_config(denoiser.scheduler_config)
        self._scheduler.set_timesteps(steps)
        self._options: dict[str, Any] = {"eta": eta} if kind == "ddim" else {}
        self._denoiser = denoiser
        self._first_seed, _ = StreamKey("generation", seed).words()

    @torch.inference_mode()
    def sample(self, numbers: range) -> Tensor:
        """Return the images of these numbers, (len(numbers), C, H, W) float32 in [-1, 1].

        All random numbers of image i, the first noise and that of each step, come from one CPU
        generator seeded for (seed, i).

        Raises
        ------
        ModelError
            If an image is not finite.
        """
        generators = [self._generator(number) for number in numbers]
        shape = self._denoiser.image_shape
        size = (shape.channels, shape.height, shape.width)
        first = torch.stack([torch.randn(size, generator=each) for each in generators])
        images = first.to(self._denoiser.device) * self._scheduler.init_noise_sigma
        for timestep in self._scheduler.timesteps:
            times = timestep.to(images.device).expand(len(images))
            answer = self._denoiser.predict(images, times)
            step = self._scheduler.step(
                answer, timestep, images, generator=generators, **self._options
            )
            images = cast(Tensor, step.prev_sample)
        self._check_finite(images)
        finished: Tensor = images.clamp(-1, 1).cpu()
        return finished

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed((self._first_seed + number) % _SEEDS)

    def _check_finite(self, images: Tensor) -> None:
        if not bool(images.isfinite().all()):
            raise ModelError(
                "gives images that are not finite",
                where=self._denoiser.folder,
                remedy="train it again with a lower learning rate, or check its weights",
            )
