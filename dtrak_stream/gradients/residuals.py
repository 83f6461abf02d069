"""How wrong the model is about an image along the diffusion, by forward passes alone."""

from __future__ import annotations

import torch
from torch import Tensor

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.objective.output_functions import OutputFunction


def residuals(task: GradientTask, samples: SampleBatch, pairs_per_pass: int) -> Tensor:
    """Return r of every sample, as the code of DAS computes it (Lin et al. 2025).

    e(t) = sqrt(mean_D (output - target)^2); r = mean_t e(t) / ||e||_2, where the average and the
    length are over all (timestep, draw) pairs of the task. r is 0 where e is 0 throughout.

    Parameters
    ----------
    task
        Model, timesteps and noise.
    samples
        B samples.
    pairs_per_pass
        (sample, timestep, draw) triples in one forward pass.

    Returns
    -------
    Tensor
        (B,) float32 on the CPU; NaN or inf where the model's output is not finite.
    """
    errors = _mean_squared_errors(task, samples, pairs_per_pass).sqrt()  # (B, pairs)
    length = torch.linalg.vector_norm(errors, dim=1)
    return torch.where(length == 0, 0.0, errors.mean(dim=1) / length).float().cpu()


def mean_squared_errors(task: GradientTask, samples: SampleBatch, pairs_per_pass: int) -> Tensor:
    """Return mean_D (output - target)^2 of every sample at each timestep, the mean over draws.

    Parameters are those of `residuals`.

    Returns
    -------
    Tensor
        (B, timesteps) float32 on the CPU; NaN or inf where the model's output is not finite.
    """
    errors = _mean_squared_errors(task, samples, pairs_per_pass)  # (B, timesteps * draws)
    return errors.reshape(len(samples), -1, task.noise_draws).mean(dim=2).float().cpu()


def _mean_squared_errors(task: GradientTask, samples: SampleBatch, pairs_per_pass: int) -> Tensor:
    """Return the error of every sample at every pair: (B, pairs) float64."""
    together = max(1, pairs_per_pass // len(task.pairs))
    groups = [samples[first : first + together] for first in range(0, len(samples), together)]
    with task.arithmetic():
        return torch.cat([_of_group(task, group, pairs_per_pass) for group in groups])


@torch.no_grad()
def _of_group(task: GradientTask, samples: SampleBatch, pairs_per_pass: int) -> Tensor:
    """Return the error of samples that go through the network together: (B, pairs) float64."""
    mean_squared_error = OutputFunction("simple", task.denoiser.schedule)
    columns = []
    for pairs in task.passes(pairs_per_pass):
        batch = task.noised(samples, pairs)
        output = task.output(batch)
        error = mean_squared_error(output, batch.target, batch.timesteps)  # (B * pairs,)
        columns.append(error.double().reshape(len(samples), len(pairs)))
    return torch.cat(columns, dim=1)
