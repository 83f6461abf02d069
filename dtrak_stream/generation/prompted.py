"""Images of prompts, made by the pipeline of diffusers that a text-to-image model has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.generation.finished import finished
from dtrak_stream.generation.prompts import Prompts
from dtrak_stream.generation.seeds import ImageSeeds
from dtrak_stream.model.captions import Captions
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.model.own_pipeline import OwnPipeline, pipelines_silenced
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.support.arithmetic import repeatable

_SAMPLERS = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}


@dataclass(frozen=True)
class PipelineOptions:
    """How a pipeline is run; None is what is usual for it.

    Attributes
    ----------
    sampler
        `own`, the scheduler that was saved with it, `ddim` or `ddpm`.
    steps
        Number of steps.
    eta
        Share of fresh noise in a DDIM step.
    guidance
        Strength of guidance.
    """

    sampler: str | None = None
    steps: int | None = None
    eta: float = 0.0
    guidance: float | None = None


class PromptedSampler:
    """Turns prompts into images, each with its own random numbers.

    Parameters
    ----------
    denoiser
        A model whose family has a pipeline.
    options
        How that is run.
    seed
        The user's seed.
    prompts
        What images take turns in.

    Raises
    ------
    ConfigurationError
        If there are no prompts, the network was distilled without the guidance that is given, or a
        sampler or a number of steps is none that the model has.
    """

    def __init__(
        self, denoiser: Denoiser, options: PipelineOptions, seed: int, prompts: Prompts
    ) -> None:
        if not len(prompts):
            raise ConfigurationError(
                "the model is told a caption of each image",
                where=denoiser.class_name,
                remedy='give --prompt "a red cat", or --prompts FILE',
            )
        self._own = cast(OwnPipeline, denoiser.pipeline)
        self._denoiser = denoiser
        self._prompts = prompts
        self._seeds = ImageSeeds(seed)
        self._kind = options.sampler or "own"
        self.num_steps = self._steps(options.steps)
        scheduler = self._scheduler()
        self._told = {**self._own.row.call, **self._guidance(options.guidance)}
        self._told |= _eta(options.eta, scheduler)
        self._pipeline = self._own.build(scheduler)

    @property
    def identity(self) -> dict[str, Any]:
        """Return all that decides an image besides its number, the seed and the weights."""
        scheduler = self._pipeline.scheduler
        options = {k: v for k, v in scheduler.config.items() if not k.startswith("_")}
        return {
            "pipeline": self._own.row.class_name,
            "sampler": self._kind,
            "scheduler": {"class": type(scheduler).__name__, **options},
            "steps": self.num_steps,
            "pipeline-options": {**self._told, **self._own.row.options},
            "decoder": cast(FirstStage, self._denoiser.first_stage).decoding_identity,
            "image-shape": str(self._denoiser.image_shape),
            "texts": cast(Captions, self._denoiser.conditioner).encoder.identity,
            "prompts": self._prompts.identity,
        }

    def told(self, number: int) -> dict[str, Any]:
        """Return what is to be known of an image: its prompt, and the seed of its generator."""
        (text,) = self._prompts.of(range(number, number + 1))
        return {"text": text, "seed": self._seeds.of(number)}

    def sample(self, numbers: range) -> Tensor:
        """Return the images of these numbers, (len(numbers), C, H, W) float32 in [-1, 1].

        All random numbers of image i come from one CPU generator seeded for (seed, i).

        Raises
        ------
        ModelError
            If an image is not finite.
        ConfigurationError
            If the pipeline refuses what it is told.
        """
        texts = self._prompts.of(numbers)
        cast(Captions, self._denoiser.conditioner).note(texts)
        pipeline = self._pipeline
        # one that was used may remember the steps before
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        with pipelines_silenced(), repeatable(self._denoiser.device):
            images: Tensor = self._called(texts, self._seeds.generators(numbers))
        return finished(images.float() * 2 - 1, self._denoiser.folder)

    def _called(self, texts: list[str], generators: list[torch.Generator]) -> Tensor:
        shape = self._denoiser.image_shape
        try:
            made = self._pipeline(
                prompt=texts,
                height=shape.height,
                width=shape.width,
                num_inference_steps=self.num_steps,
                generator=generators,
                output_type="pt",
                **self._told,
            )
        except ValueError as error:
            raise ConfigurationError(
                f"is refused by {self._own.row.class_name} ({' '.join(str(error).split())[:300]})",
                where=self._denoiser.folder,
                remedy="give another --size, --steps or --sampler",
            ) from error
        return cast(Tensor, made.images)  # (B, C, H, W) in [0, 1]

    def _steps(self, given: int | None) -> int:
        steps = self._own.row.steps if given is None else given
        most = self._denoiser.schedule.num_timesteps
        if steps > most:
            raise ConfigurationError(
                f"more than the model's {most} timesteps",
                where=f"--steps {steps}",
                remedy="give fewer",
            )
        return steps

    def _scheduler(self) -> Any:
        if self._kind == "own":
            return self._own.scheduler()
        if isinstance(self._denoiser.schedule, DDPMSchedule):
            # a variance that the network learned is left out by its pipeline
            config = {**self._denoiser.scheduler_config, "variance_type": "fixed_small"}
            return _SAMPLERS[self._kind].from_config(config)
        raise ConfigurationError(
            "the model is one of flow matching, and has other noise",
            where=f"--sampler {self._kind}",
            remedy="leave it out",
        )

    def _guidance(self, given: float | None) -> dict[str, Any]:
        usual = self._own.row.guidance
        if usual is not None:
            return {"guidance_scale": usual if given is None else given}
        if given is None:
            return {}
        raise ConfigurationError(
            "the network was distilled without guidance, and is told none",
            where=f"--guidance-scale {given:g}",
            remedy="leave it out",
        )


def _eta(eta: float, scheduler: Any) -> dict[str, Any]:
    if not eta:
        return {}
    if type(scheduler).__name__ in ("DDIMScheduler", "DDIMParallelScheduler"):
        return {"eta": eta}
    raise ConfigurationError(
        f"{type(scheduler).__name__} has no such share",
        where=f"--eta {eta:g}",
        remedy="leave it out, or give --sampler ddim",
    )
