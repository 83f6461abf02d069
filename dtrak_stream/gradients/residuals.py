"""How wrong the model is about an image along the diffusion, in one number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.objective.output_functions import OutputFunction


def residuals(
    task: GradientTask, images: Tensor, sample_ids: Sequence[str], pairs_per_pass: int
) -> Tensor:
    """Return r of every image, as the code of DAS computes it (Lin et al. 2025).

    e(t) = sqrt(mean_D (output - target)^2); r = mean_t e(t) / ||e||_2, where the average and the
    length are over all (timestep, draw) pairs of the task. r is 0 where e is 0 throughout.

    Parameters
    ----------
    task
        Model, timesteps and noise.
    images
        (B, C, H, W) float32 in [-1, 1].
    sample_ids
        B ids.
    pairs_per_pass
        (sample, timestep, draw) triples in one forward pass.

    Returns
    -------
    Tensor
        (B,) float32 on the CPU; NaN or inf where the model's output is not finite.
    """
    samples = max(1, pairs_per_pass // len(task.pairs))
    groups = [slice(first, first + samples) for first in range(0, len(images), samples)]
    with task.arithmetic():
        parts = [_errors(task, images[rows], sample_ids[rows], pairs_per_pass) for rows in groups]
    errors = torch.cat(parts)  # (B, pairs)
    length = torch.linalg.vector_norm(errors, dim=1)
    return torch.where(length == 0, 0.0, errors.mean(dim=1) / length).float().cpu()


@torch.no_grad()
def _errors(
    task: GradientTask, images: Tensor, sample_ids: Sequence[str], pairs_per_pass: int
) -> Tensor:
    """Return e of some images at every pair: (B, pairs) float64."""
    mean_squared_error = OutputFunction("simple", task.denoiser.schedule)
    columns = []
    for pairs in task.passes(pairs_per_pass):
        batch = task.noised(images, sample_ids, pairs)
        output = task.output(batch)
        error = mean_squared_error(output, batch.target, batch.timesteps)  # (B * pairs,)
        columns.append(error.double().sqrt().reshape(len(images), len(pairs)))
    return torch.cat(columns, dim=1)
