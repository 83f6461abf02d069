"""The exact engine for any model: one sample's timesteps are one ordinary batch.

f is averaged over timesteps before it is differentiated, so the gradient of one sample is the
gradient of a mean: one ordinary backward pass, without vmap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import torch
from torch import Tensor, nn

from dtrak_stream.diffusion import Denoiser, needs_input_gradient
from dtrak_stream.gradients.stream import GradientSlice
from dtrak_stream.noise import ImageNoise
from dtrak_stream.objectives import OutputFunction

GATHER_BYTES = 64 * 2**20
PAIRS_PER_PASS = 128
_SHARED_NOISE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class TimestepBatchedEngine:
    """Per-sample gradients by one backward pass over all (timestep, draw) pairs of a sample.

    Attributes
    ----------
    denoiser
        The model, in evaluation mode.
    parameters
        Name to parameter: the order of the flat gradient.
    output_function, timesteps, noise, noise_draws
        What is differentiated, where, under which noise, with how many draws a timestep.
    pairs_per_pass
        (timestep, draw) pairs in one forward and backward pass; more are accumulated.
    gather_bytes
        Memory for gradients of several samples handed on together. Projectors are cheaper a
        sample when they get several; one sample is always allowed.
    """

    denoiser: Denoiser
    parameters: dict[str, nn.Parameter]
    output_function: OutputFunction
    timesteps: tuple[int, ...]
    noise: ImageNoise
    noise_draws: int = 1
    pairs_per_pass: int = PAIRS_PER_PASS
    gather_bytes: int = GATHER_BYTES
    _shared_noise: dict[tuple[tuple[int, int], ...], Tensor] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def num_parameters(self) -> int:
        """Return p, the length of one sample's gradient."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def rows_gathered(self) -> int:
        """Return how many samples' gradients are handed on together."""
        return max(1, self.gather_bytes // (4 * self.num_parameters))

    def stream(self, images: Tensor, sample_ids: Sequence[str]) -> Iterator[GradientSlice]:
        """Yield one slice for each group of samples; see `GradientEngine.stream`."""
        rows = min(self.rows_gathered, len(images))
        gathered = torch.empty(rows, self.num_parameters, device=self.denoiser.device)
        for first in range(0, len(images), rows):
            group = range(first, min(first + rows, len(images)))
            for row, index in enumerate(group):
                self._gradient_into(gathered[row], images[index], sample_ids[index])
            yield GradientSlice(first, 0, gathered[: len(group)])

    def _gradient_into(self, out: Tensor, image: Tensor, sample_id: str) -> None:
        pairs = list(product(self.timesteps, range(self.noise_draws)))
        parameters = list(self.parameters.values())
        for start in range(0, len(pairs), self.pairs_per_pass):
            chosen = pairs[start : start + self.pairs_per_pass]
            noisy, value = self._sum_of_f(image, sample_id, chosen)
            inputs = [*parameters, noisy] if noisy.requires_grad else parameters
            gradients = torch.autograd.grad(value / len(pairs), inputs, allow_unused=True)
            _write_flat(out, gradients[: len(parameters)], parameters, add=start > 0)

    def _sum_of_f(
        self, image: Tensor, sample_id: str, pairs: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Return x_t (pairs, C, H, W) and the sum of f over the pairs."""
        reference = next(iter(self.parameters.values()))
        device, dtype = reference.device, reference.dtype
        timesteps = torch.tensor([t for t, _ in pairs], device=device)
        noise = self._noise_for(image, sample_id, pairs).to(dtype)
        noisy, target = self.denoiser.schedule.noisy_and_target(
            image.to(device=device, dtype=dtype), noise, timesteps
        )
        noisy.requires_grad_(self._needs_input_gradient)
        output = self.denoiser.predict(noisy, timesteps)  # (pairs, C, H, W)
        return noisy, self.output_function(output, target, timesteps).sum()

    @cached_property
    def _needs_input_gradient(self) -> bool:
        return needs_input_gradient(self.denoiser.network, self.parameters)

    def _noise_for(self, image: Tensor, sample_id: str, pairs: list[tuple[int, int]]) -> Tensor:
        channels, height, width = image.shape
        cached = self._shared_noise.get(tuple(pairs))
        if cached is not None:
            return cached
        noise = self.noise.draw(
            (channels, height, width), sample_id=sample_id, pairs=pairs, device=self.denoiser.device
        )
        if self.noise.keying == "shared" and noise.nbytes <= _SHARED_NOISE_BYTES:
            if len(self._shared_noise) * noise.nbytes >= _SHARED_NOISE_BYTES:
                self._shared_noise.clear()
            self._shared_noise[tuple(pairs)] = noise
        return noise


def _write_flat(
    out: Tensor,
    gradients: Sequence[Tensor | None],
    parameters: Sequence[nn.Parameter],
    *,
    add: bool,
) -> None:
    """Write (or add) gradients into `out` (p,), one after the other; an unused one is zero."""
    places = torch.split(out, [parameter.numel() for parameter in parameters])
    for place, gradient in zip(places, gradients, strict=True):
        if gradient is None:
            if not add:
                place.zero_()
        elif add:
            place += gradient.reshape(-1)
        else:
            place.copy_(gradient.reshape(-1))
