"""Output functions f: what is differentiated.

Definitions and scalings follow Zheng et al. 2024 ("Intriguing properties of data attribution on
diffusion models") and its code. D is the number of output elements of one image; `output` is
what the denoiser answers, `target` what it is trained to answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.schedule import NoiseSchedule
from dtrak_stream.objective.function_names import interpolation_eta
from dtrak_stream.objective.probes import probe_index, probe_names, probe_signs

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

    For a model that predicts something else than noise, `elbo` weighs the noise error that its
    output stands for. The others are functions of the raw output.

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
            values = values * self.schedule.elbo_weight(timesteps).to(values)
        return values

    def refuse_timesteps(self, timesteps: Sequence[int]) -> None:
        """Refuse timesteps at which f is not defined.

        Raises
        ------
        ConfigurationError
            Naming the first of them.
        """
        if self.name != "elbo":
            return
        weights = self.schedule.elbo_weight(torch.tensor(timesteps)).tolist()
        for timestep, weight in zip(timesteps, weights, strict=True):
            if not math.isfinite(weight):
                raise ConfigurationError(
                    f"has no finite weight at timestep {timestep} of this model",
                    where="--output-function elbo",
                    remedy="name timesteps without it (--timesteps list:...), or use simple",
                )


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)  # (B, C, H, W) -> (B,)
