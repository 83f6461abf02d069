"""Timestep sets: where along the diffusion an output function is averaged."""

from __future__ import annotations

from dtrak_stream.errors import ConfigurationError

DEFAULT_TIMESTEPS = "10"


def choose_timesteps(choice: str, num_timesteps: int) -> tuple[int, ...]:
    """Return the timesteps over which f is averaged.

    Parameters
    ----------
    choice
        `10` or `uniform:10`: ten evenly over all of T, i T / 10 rounded down; for a count that
        divides T, the grid of Zheng et al. 2024. `cumulative:10`: range(10).
        `list:0,250,500`: these. `share:0.06,0.2`: these shares of T, rounded.
    num_timesteps
        T, the model's number of training timesteps.

    Raises
    ------
    ConfigurationError
        If the choice is malformed, empty, out of [0, T), or names a timestep twice.
    """
    kind, _, value = choice.rpartition(":")
    try:
        if kind == "list":
            return _checked(tuple(int(t) for t in value.split(",")), choice, num_timesteps)
        if kind == "share":
            shares = [float(share) for share in value.split(",")]
            named = tuple(round(share * num_timesteps) for share in shares)
            return _checked(named, choice, num_timesteps)
        count = int(value)
    except (ValueError, OverflowError):
        return _refuse_timesteps("cannot be read", choice)
    if not 1 <= count <= num_timesteps:
        return _refuse_timesteps(f"must be from 1 to {num_timesteps}", choice)
    if kind in ("", "uniform"):
        return tuple(i * num_timesteps // count for i in range(count))
    if kind == "cumulative":
        return tuple(range(count))
    return _refuse_timesteps(f"unknown kind {kind!r}", choice)


def _checked(timesteps: tuple[int, ...], choice: str, num_timesteps: int) -> tuple[int, ...]:
    if any(not 0 <= t < num_timesteps for t in timesteps):
        return _refuse_timesteps(f"timesteps must lie in [0, {num_timesteps})", choice)
    if len(set(timesteps)) < len(timesteps):
        return _refuse_timesteps("a timestep is named twice", choice)
    return timesteps


def _refuse_timesteps(what: str, choice: str) -> tuple[int, ...]:
    raise ConfigurationError(
        what,
        where=f"--timesteps {choice}",
        remedy="use a count such as 10, uniform:10, cumulative:10, list:0,250,500 or "
        "share:0.06,0.2 (of T)",
    )
