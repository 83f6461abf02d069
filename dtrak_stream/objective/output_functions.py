"""Output functions f and timestep sets: what is differentiated, and where along the diffusion.

Definitions and scalings follow Zheng et al. 2024 ("Intriguing properties of data attribution on
diffusion models") and its code. D is the number of output elements of one image; `output` is
what the denoiser answers, `target` what it is trained to answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.schedule import NoiseSchedule
from dtrak_stream.objective.probes import probe_index, probe_names, probe_signs

DEFAULT_TIMESTEPS = "10"
_INTERPOLATION = re.compile(r"interpolation\(([^)]*)\)")

Formula = Callable[[Tensor, Tensor], Tensor]

_FORMULAS: dict[str, Formula] = {
    "simple": lambda output, target: _mean((output - target).square()),
    "elbo": lambda output, target: _mean((output - target).square()),
    "square": lambda output, _: _mean(output.square()),
    "avg": lambda output, _: _mean(output),
    "l1": lambda output, _: torch.linalg.vector_norm(output.flatten(1), ord=1, dim=1),
    "l2": lambda output, _: torch.linalg.vector_norm(output.flatten(1), ord=2, dim=1),
    "linf": lambda output, _: torch.linalg.vector_norm(output.flatten(1), ord=torch.inf, dim=1),
}
OUTPUT_FUNCTIONS = (*_FORMULAS, "interpolation(ETA)", "probe(J)")


@dataclass(frozen=True)
class OutputFunction:
    """A scalar f(x, t, eps) of each sample, whose gradient is the sample's feature.

    =================  ==========================================================
    simple             mean_D (output - target)^2, the training loss (TRAK)
    elbo               w_t mean_D (eps_hat - eps)^2, w_t = beta_t / (2 alpha_t (1 - abar_t))
    square             mean_D output^2 (D-TRAK)
    avg                mean_D output
    l1, l2, linf       sum |output|, sqrt(sum output^2), max |output|
    interpolation(eta) eta square + (1 - eta) (simple - square)
    probe(j/J)         mean_D (output r_j), r_j a fixed vector of random signs, one of J
    =================  ==========================================================

    For a model that predicts v or x, `elbo` weighs the noise error that its output stands for:
    eps_hat - eps is sqrt(abar_t) (v_hat - v), or -sqrt(abar_t / (1 - abar_t)) (x_hat - x). The
    others are functions of the raw output.

    Attributes
    ----------
    name
        As given on the command line.
    schedule
        The model's noise schedule.
    seed
        The user's seed, of probes.
    """

    name: str
    schedule: NoiseSchedule
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in _FORMULAS and probe_names(self.name) != (self.name,):
            interpolation_eta(self.name)

    def __call__(self, output: Tensor, target: Tensor, timesteps: Tensor) -> Tensor:
        """Return f for each row.

        Parameters
        ----------
        output, target
            (B, C, H, W).
        timesteps
            (B,) int64.

        Returns
        -------
        Tensor
            (B,), in the dtype of `output`.
        """
        probe = probe_index(self.name)
        if probe is not None:
            signs = probe_signs(self.seed, probe, tuple(output.shape[1:]), output.device)
            return _mean(output * signs.to(output.dtype))  # (B, C, H, W) * (C, H, W)
        if self.name not in _FORMULAS:
            eta = interpolation_eta(self.name)
            square = _mean(output.square())
            return eta * square + (1 - eta) * (_mean((output - target).square()) - square)
        values = _FORMULAS[self.name](output, target)
        if self.name == "elbo":
            values = values * self._elbo_weight(timesteps).to(values)
        return values

    def _elbo_weight(self, timesteps: Tensor) -> Tensor:
        kept = self.schedule.alphas_cumprod[timesteps.cpu()]
        beta = self.schedule.betas[timesteps.cpu()]
        weight = beta / (2 * (1 - beta) * (1 - kept))
        noise_error = {
            "epsilon": torch.ones_like(kept),
            "v_prediction": kept,
            "sample": kept / (1 - kept),
        }
        return weight * noise_error[self.schedule.prediction_type]


def interpolation_eta(name: str) -> float:
    """Return eta of an output function named `interpolation(ETA)`.

    Raises
    ------
    ConfigurationError
        If `name` is no such name: then it is no output function at all.
    """
    match = _INTERPOLATION.fullmatch(name)
    try:
        return float(match.group(1)) if match else _refuse_output_function(name)
    except ValueError:
        return _refuse_output_function(name)


def _refuse_output_function(name: str) -> float:
    raise ConfigurationError(
        "unknown output function",
        where=f"--output-function {name}",
        remedy=f"use one of: {', '.join(OUTPUT_FUNCTIONS)}",
    )


def choose_timesteps(choice: str, num_timesteps: int) -> tuple[int, ...]:
    """Return the timesteps over which f is averaged.

    Parameters
    ----------
    choice
        `10` or `uniform:10`: the first 10 of range(0, T, T // 10). `cumulative:10`: range(10).
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
        return tuple(range(0, num_timesteps, num_timesteps // count))[:count]
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


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)  # (B, C, H, W) -> (B,)
