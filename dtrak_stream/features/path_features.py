"""Features of generated images along their sampling paths (Journey-TRAK), for queries.

The training side of both is gradients of `simple`, as for TRAK.

========================  ====================================================================
trajectory(one-step)      As published (Georgiev et al. 2023): at one timestep t of the path,
                          the gradient of `simple` at the predicted x_0, noised afresh to level
                          t, summed over the noise draws (20 in the paper: --noise-draws 20).
                          --timesteps list:T names t.
trajectory(averaged)      As in the code of Zheng et al. 2024: the same at every timestep of the
                          path, each prediction noised to its own level, averaged over all.
                          --timesteps is not looked at.
========================  ====================================================================
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from dtrak_stream.data.trajectories import TrajectoryFolder
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.gradient_features import featurizer_of, make_task
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.gradients.task import GradientTask, TrajectoryTask
from dtrak_stream.model.denoiser import Denoiser

ONE_STEP, AVERAGED = "trajectory(one-step)", "trajectory(averaged)"


def is_trajectory(output_function: str | None) -> bool:
    """Return whether an output function is one along a path.

    Raises
    ------
    ConfigurationError
        If it means to be, and there is none of its name.
    """
    if output_function in (ONE_STEP, AVERAGED):
        return True
    if (output_function or "").startswith("trajectory"):
        raise ConfigurationError(
            "unknown output function",
            where=f"--output-function {output_function}",
            remedy=f'use "{ONE_STEP}" or "{AVERAGED}"',
        )
    return False


def require_trajectory(trajectory: Path | None, options: FeatureOptions, model: str) -> Path:
    """Return where the paths are.

    Raises
    ------
    ConfigurationError
        If that was not said: with the command that makes them.
    """
    if trajectory is None:
        raise ConfigurationError(
            "needs the sampling paths of the images",
            where=f"--output-function {options.output_function}",
            remedy="generate images with their paths (dtrak-stream generate --model "
            f"{model} --out DIR --save-trajectory) and give --images DIR --trajectory DIR",
        )
    return trajectory


def make_trajectory_featurizer(
    model: str | Denoiser, options: FeatureOptions, folder: TrajectoryFolder
) -> Featurizer:
    """Load the model and set up gradients along the paths in `folder`.

    Raises
    ------
    InputError, ModelError
        If the model or the paths cannot be read.
    ConfigurationError
        If an option has no such value, or means nothing here.
    """
    if options.timestep_weights != "none":
        raise ConfigurationError(
            "is not defined along a sampling path",
            where=f"--timestep-weights {options.timestep_weights}",
            remedy="leave it out",
        )
    plain = make_task(model, replace(options, output_function="simple"))
    _refuse_latents(plain, options)
    path = folder.timesteps()
    one_step = options.output_function == ONE_STEP
    timesteps = _one_of(path, plain, options) if one_step else path
    given = {each.name: getattr(plain, each.name) for each in fields(plain) if each.init}
    task = TrajectoryTask(**{**given, "timesteps": timesteps}, summed_draws=one_step)
    featurizer = featurizer_of(task, options)
    featurizer.identity["output_function"] = options.output_function
    return featurizer


def _refuse_latents(plain: GradientTask, options: FeatureOptions) -> None:
    if plain.denoiser.first_stage is not None:
        raise ConfigurationError(
            "is not defined here for a model of latents: paths are those of images",
            where=f"--output-function {options.output_function}",
            remedy="use another output function, such as simple",
        )


def _one_of(path: tuple[int, ...], plain: GradientTask, options: FeatureOptions) -> tuple[int, ...]:
    if len(plain.timesteps) != 1 or plain.timesteps[0] not in path:
        some = path[len(path) // 2]
        raise ConfigurationError(
            f"{ONE_STEP} takes one timestep, one of the {len(path)} of the path "
            f"({path[0]} to {path[-1]})",
            where=f"--timesteps {options.timesteps}",
            remedy=f"give one, such as list:{some}",
        )
    return plain.timesteps
