"""What imported features are declared to be, since their file does not say."""

from __future__ import annotations

import math

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.exchange.feature_array import FeatureArray
from dtrak_stream.exchange.feature_names import FeatureName
from dtrak_stream.exchange.options import DeclaredFeatures
from dtrak_stream.methods import METHODS
from dtrak_stream.objective.function_names import OUTPUT_FUNCTIONS, interpolation_eta
from dtrak_stream.objective.timesteps import choose_timesteps
from dtrak_stream.store.fingerprint import IMPORTED, Fingerprint

INVERSE_ROOT = "1/sqrt(k)"
NO_TIMESTEPS = "none"


def declared_factor(features: DeclaredFeatures, used_dim: int) -> float:
    """Return what features of k = `used_dim` columns are multiplied by.

    Raises
    ------
    ConfigurationError
        If `scale` is no positive number, or does not go with the projector.
    """
    where = f"--scale {features.scale}"
    if features.scale.replace(" ", "") == INVERSE_ROOT:
        if features.projector == "identity":
            raise ConfigurationError(
                "whole gradients are not projected and need no such scale",
                where=where,
                remedy="give --scale 1, or the --projector that was used",
            )
        return 1 / math.sqrt(used_dim)
    try:
        factor = float(features.scale)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise ConfigurationError(
            "not a positive number", where=where, remedy=f"give a number, or {INVERSE_ROOT}"
        )
    return factor


def declared_fingerprint(
    features: DeclaredFeatures, array: FeatureArray, *, images: str, dtype: str, rows_per_shard: int
) -> Fingerprint:
    """Return the fingerprint of a store of these features.

    Parameters
    ----------
    features
        What they are declared to be.
    array
        The features themselves.
    images
        Hash of the samples' ids and features.
    dtype, rows_per_shard
        How rows are stored.

    Raises
    ------
    ConfigurationError
        If anything declared has no such value.
    """
    _check(features)
    if array.name is not None:
        _refuse_other_name(features, array.name)
    return Fingerprint(
        model=f"imported: {features.source}",
        weights=IMPORTED,
        parameters="imported",
        num_parameters=features.num_parameters,
        output_function=features.output_function,
        timesteps=_timesteps(features),
        noise_keying=f"imported: {features.noise}",
        noise_draws=features.noise_draws,
        seed=features.seed,
        projector=_projector(features, array),
        projector_version=0,
        proj_dim=array.used_dim,
        image_shape=features.image_shape,
        precision="imported",
        images=images,
        samples=len(array),
        dtype=dtype,
        rows_per_shard=rows_per_shard,
    )


def _projector(features: DeclaredFeatures, array: FeatureArray) -> str:
    name = f" ({features.projector_name})" if features.projector_name else ""
    columns = f"first {array.used_dim} of {array.stored_dim} columns"
    factor = declared_factor(features, array.used_dim)
    return f"imported: {features.projector}{name}, {columns}, times {factor!r}"


def _timesteps(features: DeclaredFeatures) -> tuple[int, ...]:
    if features.timesteps == NO_TIMESTEPS:
        return ()
    return choose_timesteps(features.timesteps, features.num_train_timesteps)


def _check(features: DeclaredFeatures) -> None:
    known = {
        name
        for method in METHODS.values()
        for stream in method.streams
        for name in stream.output_functions
    }
    if features.output_function not in known - {"interpolation"} | set(OUTPUT_FUNCTIONS[:-1]):
        interpolation_eta(features.output_function)
    sides = features.image_shape.split("x")
    if len(sides) != 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise ConfigurationError(
            "not a shape",
            where=f"--image-shape {features.image_shape}",
            remedy="write channels x height x width, such as 3x32x32",
        )
    if not features.source.strip():
        raise ConfigurationError(
            "says nothing", where="--source", remedy="say which model and program they are of"
        )


def _refuse_other_name(features: DeclaredFeatures, name: FeatureName) -> None:
    """Refuse a declaration that is not what the file's own name says."""
    function, steps = name.output_function, name.steps(features.num_train_timesteps)
    named = f"its name says {name.function}, K = {name.timesteps}, {name.strategy}"
    if function is not None and function != features.output_function:
        raise ConfigurationError(
            f"is not what the array is of: {named}",
            where=f"--output-function {features.output_function}",
            remedy=f"give --output-function {function}, or the files that were meant",
        )
    if steps is not None and steps != _timesteps(features):
        raise ConfigurationError(
            f"are not those of the array: {named}",
            where=f"--timesteps {features.timesteps}",
            remedy=f"give --timesteps {_spelled(name, steps, features.num_train_timesteps)}",
        )


def _spelled(name: FeatureName, steps: tuple[int, ...], num_timesteps: int) -> str:
    """Return the shortest way to say which timesteps these are."""
    short = f"{name.strategy}:{name.timesteps}"
    return short if choose_timesteps(short, num_timesteps) == steps else f"list:{_listed(steps)}"


def _listed(steps: tuple[int, ...]) -> str:
    return ",".join(map(str, steps))
