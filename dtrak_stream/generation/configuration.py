"""Every option of a generation run, and the limits it is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.options import (
    LoadingOptions,
    LoraOptions,
    WeightsName,
    loras_given,
    require_guidance,
)
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.support.option_values import REPEATABLE, own_folders, require_number, require_seed

SamplerKind = Literal["own", "ddim", "ddpm"]
_COUNT = 16


@dataclass(frozen=True)
class GenerationConfig:
    """Generate images from a diffusion model: unconditionally, of classes, or of prompts.

    Each image has its own random numbers, so it is the same however many are made. Images of
    prompts are made by the pipeline that diffusers has for the model. An interrupted run continues
    when the same command is given again; a larger --count adds images.
    """

    out: Path = field(metadata=own_folders())
    """Folder for the images, 00000.png and so on, and metadata.jsonl, what each is of."""
    model: str = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors, checkpoint-N of training, hf:OWNER/NAME, or \
BASE+LORA (or the small model that comes along)."""
    count: int | None = None
    """Number of images (default: 16, or one of each prompt)."""
    prompt: tuple[str, ...] = field(default=(), metadata=REPEATABLE)
    """What an image is of, for a model that is told captions. May be given again: images take
    turns in them."""
    prompts: Path | None = None
    """Further prompts: a .txt file with one a line, or .csv or .jsonl with a column prompt, text \
or caption."""
    guidance_scale: float | None = None
    """Strength of guidance towards prompts (default: that of the model's pipeline)."""
    labels: str | None = None
    """Classes of the images, for a model with classes: 3, or 0,3,7 for one after the other again \
and again; without guidance."""
    seed: int = 0
    """Seed; image i has its own random numbers, named by (seed, i)."""
    sampler: SamplerKind | None = None
    """Which way from noise to image: ddim, ddpm, or own, the scheduler that was saved with a model
    that is told captions (default: own for such a model, else ddim)."""
    steps: int | None = None
    """Number of timesteps on that way; at most the model's own number, often 1000 (default: 50, or
    what the model's pipeline takes)."""
    eta: float = 0.0
    """Share of fresh noise in each DDIM step: 0 none, 1 as much as DDPM."""
    size: int | None = None
    """Side of the images in pixels, where the model's folder does not say it or says another \
one than it was trained on."""
    lora: tuple[str, ...] = field(default=(), metadata=REPEATABLE)
    """A LoRA on the model, its file or the folder of its training, or hf:OWNER/NAME. May be given
    again: their parts add up."""
    lora_scale: tuple[float, ...] = field(default=(), metadata=REPEATABLE)
    """What a LoRA is multiplied by, once for each --lora (default: 1)."""
    lora_some_layers: bool = False
    """Take a LoRA that leaves out layers of a kind it has elsewhere."""
    weights: WeightsName = "as-given"
    """Which weights of a training folder: raw, those of the last step; ema, their moving average; \
as-given, those of the folder that is named, raw where it holds both."""
    base: str | None = None
    """The pipeline that a network given alone was trained from, a folder or hf:OWNER/NAME: its \
first stage and text encoders are taken, and its scheduler where the network has none."""
    t5_tokens: int | None = None
    """Tokens of a prompt that T5 reads (default: as many as the model's pipeline takes)."""
    batch_size: int | None = None
    """Images made together, always as many: a last batch is filled up and the surplus dropped,
    since the last bits of an image depend on how many are computed at once (default: 16; 1 of
    prompts)."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1 ..."""
    float_images: bool = False
    """Also write OUT/images.npy, float32 (N, H, W, C) in [-1, 1]: the images before rounding."""
    save_trajectory: bool = False
    """Also write OUT/trajectory/00000.npz and so on: x_t and the predicted x_0 at every timestep \
on the way to each image, for featurize --output-function trajectory(...)."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, value, holds, wanted in (
            ("--count", self.count, self.count is None or self.count > 0, "1 or more"),
            ("--steps", self.steps, self.steps is None or self.steps > 0, "1 or more"),
            ("--eta", self.eta, 0 <= self.eta <= 1, "a number from 0 to 1"),
            ("--eta", self.eta, self.eta == 0 or self.sampler != "ddpm", "0, or --sampler ddim"),
        ):
            if not holds:
                raise ConfigurationError(
                    f"{value} is not supported", where=flag, remedy=f"give {wanted}"
                )
        require_number("--batch-size", self.batch_size, 1)
        require_number("--size", self.size, 1, 2**16)
        require_number("--t5-tokens", self.t5_tokens, 1, 4096)
        require_guidance(self.guidance_scale, "--guidance-scale")
        require_seed(self.seed)
        self.classes()
        self.loading()

    def classes(self) -> tuple[int, ...]:
        """Return the classes that take turns; none where none were given."""
        if self.labels is None:
            return ()
        try:
            return tuple(int(each) for each in self.labels.split(","))
        except ValueError as error:
            raise ConfigurationError(
                "is no list of class labels",
                where=f"--labels {self.labels}",
                remedy="give whole numbers with commas between them, such as 0,3,7",
            ) from error

    def loading(self, own_lora: str | None = None) -> LoadingOptions:
        """Return how the model is read, with the LoRA of its name before those that are given."""
        some = self.lora_some_layers
        own = () if own_lora is None else (LoraOptions(own_lora, some_layers=some),)
        return LoadingOptions(
            size=self.size,
            loras=(*own, *loras_given(self.lora, self.lora_scale, some_layers=some)),
            weights=self.weights,
            t5_tokens=self.t5_tokens,
            base=self.base,
        )

    def number_of_images(self, prompts: int) -> int:
        """Return how many images are made, where there are so many prompts."""
        return self.count or prompts or _COUNT
