"""The table of output functions that have a plain formula: a function is one row here.

Options, their help, the methods that take losses or predictions, and refusals read its columns.
Definitions and scalings follow Zheng et al. 2024 ("Intriguing properties of data attribution on
diffusion models") and its code. Nothing here imports torch before a formula is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from dtrak_stream.model.schedule import NoiseSchedule


@dataclass(frozen=True)
class Formula:
    """One output function f, a scalar for each sample.

    Attributes
    ----------
    name
        Name on the command line.
    explanation
        What it is, as the help of `--output-function` says it.
    tells
        `loss`: how well a model predicts, a function of output and target. `prediction`: what it
        predicts, a function of the output alone.
    value
        f of (output, target), what the denoiser answers and what it is trained to answer, both
        (B, C, H, W): (B,), in their dtype.
    weight
        w of (schedule, timesteps (B,)), (B,), that f is multiplied by; None: 1 at each timestep.
    """

    name: str
    explanation: str
    tells: Literal["loss", "prediction"]
    value: Callable[[Tensor, Tensor], Tensor]
    weight: Callable[[NoiseSchedule, Tensor], Tensor] | None = None


def mean(values: Tensor) -> Tensor:
    """Return the mean over the D elements of each sample: (B, C, H, W) -> (B,)."""
    return values.flatten(1).mean(dim=1)


def _error(output: Tensor, target: Tensor) -> Tensor:
    return _power(output - target)


def _power(values: Tensor) -> Tensor:
    return mean(values.square())


def _norm(output: Tensor, order: float) -> Tensor:
    import torch  # the table itself is read by options, whose help waits for no large library

    norms: Tensor = torch.linalg.vector_norm(output.flatten(1), ord=order, dim=1)
    return norms  # (B,)


def _elbo_weight(schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """Return beta_t / (2 alpha_t (1 - abar_t)) of the noise error that an output stands for."""
    return schedule.elbo_weight(timesteps)


# fmt: off
_TABLE = (
    Formula("simple", "the training loss", "loss", _error),
    Formula("elbo", "the training loss weighted as in its bound", "loss", _error, _elbo_weight),
    Formula("square", "mean of the squared output", "prediction", lambda output, _: _power(output)),
    Formula("avg", "mean of the output", "prediction", lambda output, _: mean(output)),
    Formula("l1", "sum of magnitudes", "prediction", lambda output, _: _norm(output, 1)),
    Formula("l2", "root of the sum of squares", "prediction", lambda output, _: _norm(output, 2)),
    Formula("linf", "largest magnitude", "prediction", lambda output, _: _norm(output, math.inf)),
)
# fmt: on

FORMULAS: dict[str, Formula] = {formula.name: formula for formula in _TABLE}
