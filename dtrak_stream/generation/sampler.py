"""From noise to images, each image with its own random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from dtrak_stream.data.trajectories import Trajectory, image_hash
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.generation.finished import finished
from dtrak_stream.generation.seeds import ImageSeeds
from dtrak_stream.model.conditioning import NetworkInputs
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.support.arithmetic import repeatable

DDPMKind: TypeAlias = Literal["ddim", "ddpm"]
_LEARNED = ("learned", "learned_range")


class _Step(NamedTuple):
    """x_t (B, C, H, W), images or latents, the x_0 predicted from it, and what comes after."""

    noisy: Tensor
    predicted: Tensor
    after: Tensor


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
    labels
        Classes that images take turns in; none for a model that is told nothing.

    Raises
    ------
    ConfigurationError
        If there are more steps than the model has timesteps, it is told something else than class
        labels, or has none of these classes.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        kind: DDPMKind,
        steps: int,
        eta: float,
        seed: int,
        labels: Sequence[int] = (),
    ) -> None:
        _refuse_other_conditions(denoiser, labels)
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
        # only DDPM steps have a variance that a network can learn
        learned = kind == "ddpm" and self._scheduler.config.get("variance_type") in _LEARNED
        self._ask = denoiser.answer if learned else denoiser.predict
        self._denoiser = denoiser
        self._labels = tuple(labels)
        self._seeds = ImageSeeds(seed)
        self._kind, self._eta = kind, eta

    def sample(self, numbers: range) -> Tensor:
        """Return the images of these numbers, (len(numbers), C, H, W) float32 in [-1, 1].

        All random numbers of image i, the first noise and that of each step, come from one CPU
        generator seeded for (seed, i).

        Raises
        ------
        ModelError
            If an image is not finite.
        """
        for step in self._steps(numbers):
            last = step
        return self._finished(last.after)

    def sample_with_paths(self, numbers: range) -> tuple[Tensor, list[Trajectory]]:
        """Return the same images, and how each came about.

        All paths of the batch are in memory: 8 * len(numbers) * steps * C * H * W bytes.

        Raises
        ------
        ModelError
            If an image is not finite.
        """
        shape = self._denoiser.image_shape
        size = (self.num_steps, len(numbers), shape.channels, shape.height, shape.width)
        noisy, predicted = np.empty(size, np.float32), np.empty(size, np.float32)
        for place, step in enumerate(self._steps(numbers)):
            noisy[place], predicted[place] = step.noisy.cpu(), step.predicted.cpu()
        images = self._finished(step.after)
        timesteps = self._scheduler.timesteps.numpy().astype(np.int64)
        return images, [
            Trajectory(timesteps, noisy[:, place], predicted[:, place], image_hash(image))
            for place, image in enumerate(images)
        ]

    @property
    def identity(self) -> dict[str, Any]:
        """Return all that decides an image besides its number, the seed and the weights."""
        schedule = self._denoiser.scheduler_config
        first_stage = self._denoiser.first_stage
        return {
            "scheduler": {k: v for k, v in schedule.items() if not k.startswith("_")},
            "sampler": self._kind,
            "steps": self.num_steps,
            "eta": self._eta,
            **({} if first_stage is None else {"decoder": first_stage.decoding_identity}),
        }

    def told(self, number: int) -> dict[str, Any]:
        """Return what is to be known of an image: its class, if any, and its generator's seed."""
        labels, seed = self._labels, {"seed": self._seeds.of(number)}
        return {"label": labels[number % len(labels)], **seed} if labels else seed

    @property
    def num_steps(self) -> int:
        """Return the number of timesteps of a path."""
        return len(self._scheduler.timesteps)

    @torch.inference_mode()
    def _steps(self, numbers: range) -> Iterator[_Step]:
        generators = self._seeds.generators(numbers)
        shape = self._denoiser.sample_shape
        size = (shape.channels, shape.height, shape.width)
        inputs = self._inputs(numbers)
        first = torch.stack([torch.randn(size, generator=each) for each in generators])
        images = first.to(self._denoiser.device) * self._scheduler.init_noise_sigma
        for timestep in self._scheduler.timesteps:
            times = timestep.to(images.device).expand(len(images))
            with repeatable(images.device):
                answer = self._ask(images, times, inputs)
            step = self._scheduler.step(
                answer, timestep, images, generator=generators, **self._options
            )
            yield _Step(images, step.pred_original_sample.clamp(-1, 1), step.prev_sample)
            images = cast(Tensor, step.prev_sample)

    def _inputs(self, numbers: range) -> NetworkInputs:
        """Return what the network is told of the images of these numbers."""
        conditioner = self._denoiser.conditioner
        if conditioner is None:
            return {}
        labels = [self._labels[number % len(self._labels)] for number in numbers]
        return conditioner.inputs(labels, self._denoiser.device)

    def _finished(self, samples: Tensor) -> Tensor:
        first_stage = self._denoiser.first_stage
        images = samples if first_stage is None else first_stage.images(samples)
        return finished(images, self._denoiser.folder)


def _refuse_other_conditions(denoiser: Denoiser, labels: Sequence[int]) -> None:
    conditioner = denoiser.conditioner
    if conditioner is not None and conditioner.kind == "class label":
        if labels:
            return conditioner.check(labels)
        problem = f"the model is told {conditioner.description} of each image"
        remedy = "give --labels, such as 0,1,2"
    elif conditioner is not None:
        problem = f"the model is told a {conditioner.kind} of each image"
        remedy = "make its images with the pipeline of its family"
    elif labels:
        problem, remedy = "the model has no classes", "leave --labels out"
    else:
        return None
    raise ConfigurationError(problem, where=denoiser.class_name, remedy=remedy)
