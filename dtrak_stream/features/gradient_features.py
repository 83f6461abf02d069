"""Gradient features: the model, engine and projector that the options describe."""

from __future__ import annotations

import torch
import xxhash

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.features.options import DEFAULT_PROJ_DIM, FeatureOptions, own_or
from dtrak_stream.gradients.task import GradientTask, LossScale
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.base_and_lora import base_and_lora
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.given import checked_given
from dtrak_stream.model.half_precision import HALF_PRECISION, keep_in_half
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters, has_lora, weights_hash
from dtrak_stream.model.schedule import NoiseSchedule
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.objective.probes import probe_names
from dtrak_stream.objective.timesteps import DEFAULT_TIMESTEPS, choose_timesteps
from dtrak_stream.projectors.projector import Projector, SideBySideProjector
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.timing import StageTimer, clock_of


def make_featurizer(model: str | Denoiser, options: FeatureOptions) -> Featurizer:
    """Load the model, or BASE+LORA, and set up gradients and projection as `options` says.

    Raises
    ------
    InputError, ModelError
        If the model cannot be loaded, or is none; see `load_denoiser`, `base_and_lora` and
        `checked_given`.
    ConfigurationError
        If an option has no such value, or means nothing for such a model.
    """
    return featurizer_of(make_task(model, options), options)


def make_task(model: str | Denoiser, options: FeatureOptions) -> GradientTask:
    """Load the model and say what of it is differentiated; raises as `make_featurizer`."""
    half = HALF_PRECISION.get(options.precision)
    denoiser = _opened(model, options, half)
    device = denoiser.device
    _refuse_lora_elsewhere(denoiser, options.parameters)
    parameters = choose_parameters(denoiser.network, options.parameters)
    if half is not None and isinstance(model, str):  # what was given is left as it is
        keep_in_half(denoiser.network, half)
    first, *others = _output_functions(options, denoiser.schedule)
    timesteps = choose_timesteps(
        options.timesteps or DEFAULT_TIMESTEPS, denoiser.schedule.num_timesteps
    )
    first.refuse_timesteps(timesteps)
    return GradientTask(
        denoiser,
        parameters,
        first,
        timesteps,
        ImageNoise(options.seed, options.noise),
        own_or(options.noise_draws, 1),
        tuple(others),
        unit_gradients=options.timestep_weights == "unit-gradient",
        autocast=half,
        # the numbers of half-precision types pass through TF32 unchanged
        tf32=options.precision != "float32",
        scale=LossScale.for_precision(options.precision, denoiser.sample_shape),
        timer=StageTimer(clock_of(device)),
    )


def _opened(model: str | Denoiser, options: FeatureOptions, half: torch.dtype | None) -> Denoiser:
    """Return the model that has this name, or that was given."""
    device = choose_device(options.device)
    if isinstance(model, Denoiser):
        _refuse_precision(options.precision, model.device)
        return checked_given(model, options.loading(), options.device, half)
    _refuse_precision(options.precision, device)
    base, own_lora = base_and_lora(model)
    return load_denoiser(base, options.loading(own_lora), device=device)


def _refuse_lora_elsewhere(denoiser: Denoiser, choice: str) -> None:
    """Refuse to take all parameters quietly for those of a LoRA that the network has no part of."""
    told = {} if denoiser.conditioner is None else denoiser.conditioner.networks
    adapted = [name for name, network in told.items() if has_lora(network)]
    if choice == "auto" and adapted and not has_lora(denoiser.network):
        raise ConfigurationError(
            f"is on {' and '.join(adapted)} alone, of which no gradients are taken",
            where="--lora",
            remedy="say which parameters of the network are meant: --parameters all, or a regular "
            "expression",
        )


def _refuse_precision(precision: str, device: torch.device) -> None:
    if precision == "tf32" and device.type != "cuda":
        raise ConfigurationError(
            f"there is no TF32 on {device.type}",
            where=f"--precision {precision}",
            remedy="use float32, or --device cuda on a machine with an NVIDIA GPU",
        )


def featurizer_of(task: GradientTask, options: FeatureOptions) -> Featurizer:
    """Return what projects the gradients of a task as `options` says.

    Raises
    ------
    ConfigurationError
        If there is no such projector.
    """
    each = make_projector(
        options.projector or "sketch",
        proj_dim=own_or(options.proj_dim, DEFAULT_PROJ_DIM),
        seed=options.seed,
        num_parameters=task.num_parameters,
    )
    count, device = len(task.output_functions), task.denoiser.device
    projector = each if count == 1 else SideBySideProjector(each, count, task.num_parameters)
    identity = identity_of(task, each, options)
    engine = TimestepBatchedEngine(task)
    return Featurizer(task, projector, task.denoiser.image_shape, device, identity, engine)


def _output_functions(options: FeatureOptions, schedule: NoiseSchedule) -> list[OutputFunction]:
    name = options.output_function or "square"
    names = probe_names(name) or (name,)
    return [OutputFunction(each, schedule, options.seed) for each in names]


def identity_of(
    task: GradientTask, projector: Projector, options: FeatureOptions
) -> dict[str, object]:
    """Return the fields of the fingerprint that do not depend on images or output function."""
    shapes = repr([(name, tuple(p.shape)) for name, p in task.parameters.items()])
    return {
        **model_identity(task, options),
        "parameters": xxhash.xxh3_64_hexdigest(shapes.encode()),
        "num_parameters": task.num_parameters,
        "projector": projector.name,
        "projector_version": projector.version,
        "proj_dim": projector.proj_dim,
    }


def model_identity(task: GradientTask, options: FeatureOptions) -> dict[str, object]:
    """Return the fields that say what the model is, and how it is asked."""
    denoiser = task.denoiser
    return {
        "model": denoiser.identity,
        "weights": _weights(denoiser, options),
        "timesteps": task.timesteps,
        "noise_keying": options.noise,
        "noise_draws": task.noise_draws,
        "seed": options.seed,
        "image_shape": str(denoiser.image_shape),
        "precision": options.precision,
        "timestep_weights": options.timestep_weights,
    }


def _weights(denoiser: Denoiser, options: FeatureOptions) -> str:
    """Return the hash of the network's weights, and that they are random where they are."""
    told = f"untrained, seed {options.seed}: " if options.weights == "untrained" else ""
    return told + weights_hash(denoiser.network)
