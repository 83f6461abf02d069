"""The noise schedule that a saved scheduler stands for, if it is one of the DDPM family.

Schedulers of diffusers are samplers. Those of the DDPM family only differ in how they get from
noise to an image: the noise that a model was trained under is the same product of 1 - beta_t,
whichever of them was saved with it. All others (flow matching, EDM, score SDEs, consistency
models) mix images with noise in another way, and are refused by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtrak_stream.errors import ModelError
from dtrak_stream.model.config_files import read_config, saved_class
from dtrak_stream.model.schedule import DDPMSchedule, NoiseSchedule

FILE_NAME = "scheduler_config.json"
DDPM_FAMILY = (
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DDIMInverseScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "DPMSolverSDEScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
)
"""Classes whose noise is sqrt(abar_t) x + sqrt(1 - abar_t) eps at timesteps 0 to T - 1."""
_AS_IN_TRAINING = (
    "save the scheduler that the model was trained with: DDPMScheduler, or a sampler of the same "
    "noise (DDIM, PNDM, LMS, Euler, Heun, KDPM2, DPM-Solver, DEIS, UniPC, SA-Solver)"
)
# what decides the noise in training, or the answer: a class that has no such option ignores it
_DECIDES = frozenset(
    {
        *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
        *("rescale_betas_zero_snr", "prediction_type"),
    }
)
_LEARNED_VARIANCE = ("learned", "learned_range")
_FIXED_VARIANCE = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
# under other values the network is asked, or answers, something else than that of a DDPM
_UNDERSTOOD: dict[str, tuple[object, ...]] = {
    "use_flow_sigmas": (False, None),
    "timestep_type": ("discrete", None),
    "snr_shift_scale": (1.0, None),
    "variance_type": (*_FIXED_VARIANCE, *_LEARNED_VARIANCE, None),
}
# written by the first versions of diffusers, and without a meaning for the noise
_WITHOUT_MEANING = frozenset({"tensor_format", "timestep_values", "skip_timestep"})
_SHARED_BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")  # known to every sampler


@dataclass(frozen=True)
class SavedSchedule:
    """What a saved scheduler says of the model beside it.

    Attributes
    ----------
    schedule
        How noise enters, and what the network is trained to answer.
    config
        Options for a DDPM or DDIM sampler of the same schedule.
    learns_variance
        Whether the network answers twice as many channels as a sample has, the second half being
        the variance of a sampling step (Nichol and Dhariwal 2021).
    predicts
        What the network is trained to answer, besides a variance.
    description
        Class and betas, in a few words.
    """

    schedule: NoiseSchedule
    config: dict[str, Any]
    learns_variance: bool
    predicts: str
    description: str


def read_ddpm_schedule(folder: Path) -> SavedSchedule:
    """Read the scheduler that was saved in `folder`.

    Raises
    ------
    InputError
        If there is no readable configuration.
    ModelError
        If its class is not of the DDPM family, or an option has no known value, contradicts
        another one, or is one that this class does not have.
    """
    path = folder / FILE_NAME
    saved = read_config(path, what="configuration of a scheduler")
    name = saved_class(saved)
    if name not in DDPM_FAMILY:
        raise ModelError(
            f"{name} is not of the DDPM family" if name else "names no class (_class_name)",
            where=path,
            remedy=_AS_IN_TRAINING,
        )
    options = {key: value for key, value in saved.items() if not key.startswith("_")}
    options = _with_prediction_type(options, path)
    _refuse_unknown_options(name, options, path)
    scheduler = _make(name, options, path)
    schedule = DDPMSchedule.of(scheduler, where=path)
    _refuse_impossible(schedule, options, path)
    return SavedSchedule(
        schedule,
        _for_samplers(name, scheduler),
        options.get("variance_type") in _LEARNED_VARIANCE,
        schedule.prediction_type,
        f"{_betas_named(scheduler)} noise over {schedule.num_timesteps:,} timesteps ({name})",
    )


def saved_scheduler(folder: Path) -> Any:
    """Return the scheduler in a folder as diffusers makes it, for a pipeline.

    It was checked before: its class and its options are among those that are understood.

    Raises
    ------
    InputError, ModelError
        See `read_ddpm_schedule`.
    """
    path = folder / FILE_NAME
    saved = read_config(path, what="configuration of a scheduler")
    options = {key: value for key, value in saved.items() if not key.startswith("_")}
    return _make(str(saved_class(saved)), _with_prediction_type(options, path), path)


def _with_prediction_type(options: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the options with `predict_epsilon`, an older name, as a prediction type."""
    legacy = options.pop("predict_epsilon", None)
    if legacy is None:
        return options
    meant = "epsilon" if legacy else "sample"
    stated = options.get("prediction_type") or meant
    if stated != meant:
        raise ModelError(
            f"predict_epsilon: {str(legacy).lower()} means that the model predicts {meant}, "
            f"and prediction_type says {stated}",
            where=path,
            remedy="remove the one that is wrong",
        )
    return {**options, "prediction_type": meant}


def _refuse_unknown_options(name: str, options: dict[str, Any], path: Path) -> None:
    own, everywhere = _options_of(name), _options_of_family()
    for key, value in options.items():
        if key in _UNDERSTOOD and value not in _UNDERSTOOD[key]:
            problem = f"{key}: {value!r} is not understood"
        elif own and key in _DECIDES - own and value not in (None, False):
            problem = f"{key}: {value!r} has no meaning for {name}"
        elif key not in everywhere | _WITHOUT_MEANING and value not in (None, False):
            problem = f"unknown option {key}: {value!r}"
        else:
            continue
        raise ModelError(
            problem,
            where=path,
            remedy=f"{_AS_IN_TRAINING}, or remove the option if it says nothing of training",
        )


def _class_called(name: str) -> Any:
    import diffusers  # takes longer than all else together

    return getattr(diffusers, name)


def _options_of(name: str) -> frozenset[str]:
    """Return the options of a class; none where a package is missing that it needs."""
    parameters = inspect.signature(_class_called(name).__init__).parameters
    return frozenset(parameters) - {"self", "args", "kwargs"}


def _options_of_family() -> frozenset[str]:
    """Return all options of all classes: each may stand in the file of another one it became."""
    return frozenset.union(*map(_options_of, DDPM_FAMILY), frozenset(_UNDERSTOOD))


def _make(name: str, options: dict[str, Any], path: Path) -> Any:
    """Return the scheduler, with the defaults of its own class for what is not in the file."""
    own = _options_of(name)
    with _failures_explained(name, options, path):
        made = _class_called(name)(**{k: v for k, v in options.items() if k in own})
    made.register_to_config(**options)
    return made


@contextmanager
def _failures_explained(name: str, options: dict[str, Any], path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each class refuses in its own way
        betas = options.get("beta_schedule")
        unknown_betas = isinstance(error, NotImplementedError) and str(betas) in str(error)
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"unknown beta_schedule {betas!r} of {name}"
            if unknown_betas
            else f"{name} cannot be made ({type(error).__name__}: {reason})",
            where=path,
            remedy=_AS_IN_TRAINING,
        ) from error


def _refuse_impossible(schedule: DDPMSchedule, options: dict[str, Any], path: Path) -> None:
    timesteps = options.get("num_train_timesteps", schedule.num_timesteps)
    if not schedule.num_timesteps:
        empty = "num_train_timesteps: 0" if timesteps == 0 else "trained_betas: []"
        raise ModelError(
            f"a scheduler without noise levels ({empty})", where=path, remedy=_AS_IN_TRAINING
        )
    if timesteps != schedule.num_timesteps:
        raise ModelError(
            f"{schedule.num_timesteps} trained_betas for {timesteps} timesteps",
            where=path,
            remedy="give one beta for each of num_train_timesteps",
        )
    betas = schedule.betas
    if not bool(((betas >= 0) & (betas <= 1)).all()):  # NaN is not
        raise ModelError(
            f"betas from {float(betas.min()):.3g} to {float(betas.max()):.3g} are no variances",
            where=path,
            remedy="give betas from 0 to 1",
        )


def _for_samplers(name: str, scheduler: Any) -> dict[str, Any]:
    """Return options under which DDPM and DDIM samplers have the same betas."""
    config = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    if name in ("DDPMScheduler", "DDIMScheduler") and config["beta_schedule"] in _SHARED_BETAS:
        return config
    betas = scheduler.betas.tolist()
    return {**config, "trained_betas": betas, "beta_schedule": "linear"} | {
        "rescale_betas_zero_snr": False
    }


def _betas_named(scheduler: Any) -> str:
    config = scheduler.config
    named = "tabulated" if config.trained_betas is not None else config.beta_schedule
    return f"zero-SNR {named}" if config.get("rescale_betas_zero_snr") else str(named)
