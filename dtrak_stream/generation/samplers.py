"""Which sampler makes the images of a run: that of DDPM noise, or the pipeline of a family."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.prompted import PipelineOptions, PromptedSampler
from dtrak_stream.generation.prompts import Prompts, read_prompts
from dtrak_stream.generation.sampler import DDPMKind, Sampler
from dtrak_stream.model.base_and_lora import base_and_lora
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser, takes_prompts
from dtrak_stream.support.device import choose_device

_STEPS = 50


class ImageSampler(Protocol):
    """Makes images by their numbers."""

    @property
    def num_steps(self) -> int:
        """Return the number of steps from noise to image."""

    @property
    def identity(self) -> dict[str, Any]:
        """Return all that decides an image besides its number, the seed and the weights."""

    def told(self, number: int) -> dict[str, Any]:
        """Return what is to be known of an image: what it is of, and its seed."""

    def sample(self, numbers: range) -> Tensor:
        """Return the images of these numbers, (len(numbers), C, H, W) float32 in [-1, 1]."""


def load_model(config: GenerationConfig) -> Denoiser:
    """Load the model of a run, with its LoRAs.

    Raises
    ------
    ConfigurationError
        If it makes images of captions and there are none, or the other way round; or as
        `load_denoiser`.
    InputError, ModelError
        See `load_denoiser`.
    """
    base, own_lora = base_and_lora(config.model)
    options = config.loading(own_lora)
    refuse_other_options(config, prompted=takes_prompts(base, options), model=base)
    return load_denoiser(base, options, device=choose_device(config.device))


def open_sampler(
    denoiser: Denoiser, config: GenerationConfig, prompts: Prompts | None = None
) -> ImageSampler:
    """Return what makes the images of a run.

    Parameters
    ----------
    denoiser
        The model.
    config
        The run.
    prompts
        What its images are of; those that the run names if left out.

    Raises
    ------
    ConfigurationError
        If an option means nothing for such a model, or is none that it has.
    InputError
        If prompts cannot be read.
    """
    if denoiser.pipeline is None:
        steps = _STEPS if config.steps is None else config.steps
        kind: DDPMKind = "ddpm" if config.sampler == "ddpm" else "ddim"
        return Sampler(denoiser, kind, steps, config.eta, config.seed, config.classes())
    options = PipelineOptions(config.sampler, config.steps, config.eta, config.guidance_scale)
    if prompts is None:
        prompts = read_prompts(config.prompt, config.prompts)
    return PromptedSampler(denoiser, options, config.seed, prompts)


def refuse_other_options(config: GenerationConfig, *, prompted: bool, model: str) -> None:
    """Refuse options of models that are told captions for others, and the other way round.

    Raises
    ------
    ConfigurationError
        Naming the first of them.
    """
    has_prompts = bool(config.prompt) or config.prompts is not None
    if prompted and config.labels is not None:
        flag, problem = "--labels", "the model is told captions, and no classes"
    elif prompted and not has_prompts:
        raise ConfigurationError(
            "the model is told a caption of each image",
            where=f"--model {model}",
            remedy='give --prompt "a red cat", or --prompts FILE',
        )
    elif not prompted and has_prompts:
        flag = "--prompt" if config.prompt else "--prompts"
        problem = "the model is told no captions"
    elif not prompted and config.guidance_scale is not None:
        flag, problem = "--guidance-scale", "there is no guidance without captions here"
    elif not prompted and config.sampler == "own":
        flag, problem = "--sampler own", "the model is sampled by ddim or ddpm"
    else:
        return
    raise ConfigurationError(problem, where=flag, remedy="leave it out")
