"""Output functions f: what is differentiated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.schedule import NoiseSchedule
from dtrak_stream.objective.formulas import FORMULAS, mean
from dtrak_stream.objective.function_names import interpolation_eta
from dtrak_stream.objective.probes import probe_index, probe_names, probe_signs


@dataclass(frozen=True)
class OutputFunction:
    """A scalar f(x, t, eps) of each sample, whose gradient is the sample's feature.

    Beside the rows of the table of formulas, which need no more than their name, there are

    - interpolation(eta): eta square + (1 - eta) (simple - square);
    - probe(j/J): mean_D (output r_j), r_j a fixed vector of random signs, one of J.

    D is the number of output elements of one image.

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
        if self.name not in FORMULAS and probe_names(self.name) != (self.name,):
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
            return mean(output * signs.to(output.dtype))  # (B, C, H, W) * (C, H, W)
        if self.name not in FORMULAS:
            eta = interpolation_eta(self.name)
            square, simple = (FORMULAS[name].value(output, target) for name in ("square", "simple"))
            return eta * square + (1 - eta) * (simple - square)
        formula = FORMULAS[self.name]
        values = formula.value(output, target)
        if formula.weight is not None:
            values = values * formula.weight(self.schedule, timesteps).to(values)
        return values

    def refuse_timesteps(self, timesteps: Sequence[int]) -> None:
        """Refuse timesteps at which f is not defined.

        Raises
        ------
        ConfigurationError
            Naming the first of them.
        """
        formula = FORMULAS.get(self.name)
        if formula is None or formula.weight is None:
            return
        weights = formula.weight(self.schedule, torch.tensor(timesteps)).tolist()
        for timestep, weight in zip(timesteps, weights, strict=True):
            if not math.isfinite(weight):
                raise ConfigurationError(
                    f"has no finite weight at timestep {timestep} of this model",
                    where=f"--output-function {self.name}",
                    remedy="name timesteps without it (--timesteps list:...), or use simple",
                )
