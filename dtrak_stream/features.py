"""From images to features: the model, its gradients and the projector as one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import xxhash
from torch import Tensor

from dtrak_stream.data import Images, ImageShape
from dtrak_stream.diffusion import choose_parameters, load_denoiser, weights_hash
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.gradients import GradientEngine, TimestepBatchedEngine
from dtrak_stream.noise import ImageNoise, NoiseKeying
from dtrak_stream.objectives import OutputFunction, choose_timesteps
from dtrak_stream.projectors import Projector, make_projector
from dtrak_stream.store import Fingerprint

MAX_NOISE_DRAWS = 65_535


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
    rows_per_shard: int = 1024
    """Images in one file of the store; a crash costs at most one shard of work."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1 ..."""


@dataclass(frozen=True)
class Featurizer:
    """Turns images into features.

    Attributes
    ----------
    engine
        Streams per-sample gradients.
    projector
        Maps gradients to features.
    image_shape
        The images it takes.
    device
        Where it computes.
    identity
        Fields of the fingerprint that do not depend on the images.
    """

    engine: GradientEngine
    projector: Projector
    image_shape: ImageShape
    device: torch.device
    identity: dict[str, object]

    def features(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the features of images (B, C, H, W) in [-1, 1]: (B, k) float32 on the CPU."""
        out = torch.zeros(len(images), self.projector.proj_dim, device=self.device)
        for piece in self.engine.stream(images.to(self.device), sample_ids):
            rows = slice(piece.first_row, piece.first_row + len(piece.block))
            self.projector.add(piece.block, piece.offset, out[rows])
        return out.cpu()

    def fingerprint(self, images: Images, options: FeatureOptions) -> Fingerprint:
        """Return what the features of `images` depend on. Reads the images' files once."""
        return Fingerprint(
            **self.identity,  # type: ignore[arg-type]
            images=images.identity(),
            samples=len(images),
            dtype=options.dtype,
            rows_per_shard=options.rows_per_shard,
        )


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
    engine = TimestepBatchedEngine(
        denoiser, parameters, output_function, timesteps, noise, options.noise_draws
    )
    projector = make_projector(
        options.projector,
        proj_dim=options.proj_dim,
        seed=options.seed,
        num_parameters=engine.num_parameters,
    )
    schedule = denoiser.schedule
    numbers = torch.stack([schedule.alphas_cumprod, schedule.betas]).numpy().tobytes()
    shapes = repr([(name, tuple(p.shape)) for name, p in parameters.items()])
    identity = {
        "model": f"{denoiser.class_name} predicting {schedule.prediction_type}, "
        f"schedule {xxhash.xxh3_64_hexdigest(numbers)}",
        "weights": weights_hash(denoiser.network),
        "parameters": xxhash.xxh3_64_hexdigest(shapes.encode()),
        "num_parameters": engine.num_parameters,
        "output_function": output_function.name,
        "timesteps": timesteps,
        "noise_keying": options.noise,
        "noise_draws": options.noise_draws,
        "seed": options.seed,
        "projector": projector.name,
        "projector_version": projector.version,
        "proj_dim": projector.proj_dim,
        "image_shape": str(denoiser.image_shape),
    }
    return Featurizer(engine, projector, denoiser.image_shape, device, identity)


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
