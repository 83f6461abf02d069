"""What a feature is: the options, and the featurizer they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import xxhash

from dtrak_stream.diffusion import choose_parameters, load_denoiser, weights_hash
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.featurizer import Featurizer
from dtrak_stream.gradients import GradientTask, LossScale, TimestepBatchedEngine
from dtrak_stream.noise import ImageNoise, NoiseKeying
from dtrak_stream.objectives import OutputFunction, choose_timesteps
from dtrak_stream.projectors import make_projector
from dtrak_stream.timing import StageTimer

MAX_NOISE_DRAWS = 65_535
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class FeatureOptions:
    """What a feature is: the same for training images and queries."""

    output_function: str | None = None
    """What is differentiated: simple, elbo, square, avg, l1, l2, linf or interpolation(ETA). \
Default: the method's own (square for d-trak)."""
    timesteps: str = "10"
    """Timesteps f is averaged over: 10 or uniform:10, cumulative:10, list:0,250,500."""
    noise: NoiseKeying = "shared"
    """shared: one noise a timestep for all samples, better scores; per-sample: keyed by id too."""
    noise_draws: int = 1
    """Noise draws for each timestep."""
    parameters: str = "all"
    """Parameters whose gradients are taken: all, lora, or a regular expression over names."""
    projector: Literal["sketch", "rademacher", "normal", "identity"] = "sketch"
    """Random projection: sketch is fastest; identity keeps the whole gradient."""
    proj_dim: int = 4096
    """Length k of a feature: a multiple of 64 from 64 to 65,536."""
    seed: int = 0
    """Seed of the noise and of the projector."""
    dtype: Literal["float16", "float32"] = "float16"
    """How features are stored; float16 has a scale for each row."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the model computes in (autocast); gradients and features are float32 in any case."""
    rows_per_shard: int = 1024
    """Images in one file of the store; a crash costs at most one shard of work."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1 ..."""


def make_featurizer(model: str, options: FeatureOptions) -> Featurizer:
    """Load the model and set up gradients and projection as `options` says.

    Raises
    ------
    InputError, ModelError
        If the model cannot be loaded; see `load_denoiser`.
    ConfigurationError
        If an option has no such value.
    """
    _check(options)
    device = choose_device(options.device)
    denoiser = load_denoiser(model, device=device)
    parameters = choose_parameters(denoiser.network, options.parameters)
    output_function = OutputFunction(options.output_function or "square", denoiser.schedule)
    timesteps = choose_timesteps(options.timesteps, denoiser.schedule.num_timesteps)
    noise = ImageNoise(options.seed, options.noise)
    task = GradientTask(
        denoiser,
        parameters,
        output_function,
        timesteps,
        noise,
        options.noise_draws,
        autocast=None if options.precision == "float32" else _HALF[options.precision],
        scale=LossScale.for_precision(options.precision, denoiser.image_shape),
        timer=StageTimer(device),
    )
    projector = make_projector(
        options.projector,
        proj_dim=options.proj_dim,
        seed=options.seed,
        num_parameters=task.num_parameters,
    )
    schedule = denoiser.schedule
    numbers = torch.stack([schedule.alphas_cumprod, schedule.betas]).numpy().tobytes()
    shapes = repr([(name, tuple(p.shape)) for name, p in parameters.items()])
    identity = {
        "model": f"{denoiser.class_name} predicting {schedule.prediction_type}, "
        f"schedule {xxhash.xxh3_64_hexdigest(numbers)}",
        "weights": weights_hash(denoiser.network),
        "parameters": xxhash.xxh3_64_hexdigest(shapes.encode()),
        "num_parameters": task.num_parameters,
        "output_function": output_function.name,
        "timesteps": timesteps,
        "noise_keying": options.noise,
        "noise_draws": options.noise_draws,
        "seed": options.seed,
        "projector": projector.name,
        "projector_version": projector.version,
        "proj_dim": projector.proj_dim,
        "image_shape": str(denoiser.image_shape),
        "precision": options.precision,
    }
    engine = TimestepBatchedEngine(task)
    return Featurizer(task, projector, denoiser.image_shape, device, identity, engine)


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the first GPU, or the CPU without one.

    Raises
    ------
    ConfigurationError
        If there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"no such device here ({str(error).splitlines()[0]})",
            where=f"--device {name}",
            remedy="use auto, cpu, or cuda on a machine with an NVIDIA GPU",
        ) from error
    return device


def _check(options: FeatureOptions) -> None:
    for flag, value, largest in (
        ("--noise-draws", options.noise_draws, MAX_NOISE_DRAWS),
        ("--rows-per-shard", options.rows_per_shard, 2**31),
    ):
        if not 1 <= value <= largest:
            raise ConfigurationError(
                f"must be from 1 to {largest:,}", where=f"{flag} {value}", remedy="change it"
            )
