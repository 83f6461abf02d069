"""Engines that go back several times over one forward pass.

They serve tasks with several output functions, one backward pass for each, and tasks whose
gradients are brought to unit length at every (timestep, draw) pair before they are averaged.
The gradients of J functions come as one of J * p parameters: function j at j * p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.stream import GradientSlice, Receiver
from dtrak_stream.gradients.task import Pairs
from dtrak_stream.gradients.timestep_batched import PAIRS_PER_PASS, TimestepBatchedEngine


@dataclass(frozen=True)
class RepeatedTimestepBatchedEngine(TimestepBatchedEngine):
    """The exact engine: every function, and for unit gradients every pair, by itself."""

    @property
    def num_parameters(self) -> int:
        """Return J * p."""
        return len(self.task.output_functions) * self.task.num_parameters

    def stream(self, images: Tensor, sample_ids: Sequence[str], receive: Receiver) -> None:
        """Hand on all gradients of a group of samples at a time; see `GradientEngine.stream`."""
        receive = self.task.unscaled(receive)
        functions = len(self.task.output_functions)
        width = sum(parameter.numel() for parameter in self._parameters.values())
        rows = max(1, min(self.gather_bytes // (4 * functions * width), len(images)))
        gathered = torch.empty(rows, functions, width, device=self.task.denoiser.device)
        for first in range(0, len(images), rows):
            group = range(first, min(first + rows, len(images)))
            for row, index in enumerate(group):
                self._gradients_into(gathered[row], images[index : index + 1], sample_ids[index])
            for function in range(functions):
                start = function * self.task.num_parameters
                for offset, columns in self._runs:
                    block = gathered[: len(group), function, columns]
                    receive(GradientSlice(first, start + offset, block))

    def _gradients_into(self, out: Tensor, image: Tensor, sample_id: str) -> None:
        """Write the gradients of one sample into `out` (J, p)."""
        unit = self._task.unit_gradients
        out.zero_()
        for pairs in self._task.passes(1 if unit else self.pairs_per_pass):
            for function, gradient in enumerate(self._of_pairs(image, sample_id, pairs)):
                if unit:
                    length = torch.linalg.vector_norm(gradient, dtype=torch.float64)
                    gradient = gradient * _inverse(length, self._task.share).to(gradient)
                out[function] += gradient

    def _of_pairs(self, image: Tensor, sample_id: str, pairs: Pairs) -> list[Tensor]:
        """Return the gradient of each function's sum over some pairs: J of (p,)."""
        parameters = list(self._parameters.values())
        batch = self._task.noised(image, [sample_id], pairs)
        batch.noisy.requires_grad_(self._needs_input_gradient)
        inputs = [*parameters, batch.noisy] if batch.noisy.requires_grad else parameters
        values = self._task.values(self._task.output(batch), batch)  # (J, pairs)
        with self._task.timer.stage("backward"):
            return [
                _flat(
                    torch.autograd.grad(
                        value.sum(), inputs, allow_unused=True, retain_graph=left > 0
                    ),
                    parameters,
                )
                for left, value in zip(reversed(range(len(values))), values, strict=True)
            ]


@dataclass(frozen=True)
class RepeatedHookedEngine(HookedEngine):
    """The fast engine: all samples and pairs of a batch in each backward pass.

    For unit gradients, a first backward pass finds the length of the gradient of every
    (sample, pair), and a second one takes each divided by its length: gradients are linear in
    the functions. That needs a rule for every parameter.
    """

    @property
    def num_parameters(self) -> int:
        """Return J * p."""
        return len(self.task.output_functions) * self.task.num_parameters

    @cached_property
    def others(self) -> TimestepBatchedEngine | None:
        """Return the engine for the parameters that no rule serves, None if there are none."""
        names = frozenset(self.task.parameters) - self.names
        if not names:
            return None
        pairs = min(self.pairs_per_pass, PAIRS_PER_PASS)
        return RepeatedTimestepBatchedEngine(self.task, names, pairs_per_pass=pairs)

    def _one_pass(
        self,
        images: Tensor,
        sample_ids: Sequence[str],
        pairs: Pairs,
        first: int,
        receive: Receiver,
    ) -> None:
        batch = self.task.noised(images, sample_ids, pairs)
        # (J, samples * pairs)
        values = self._taps.forward(lambda: self.task.values(self.task.output(batch), batch))
        for function, value in enumerate(values):
            start = function * self.task.num_parameters

            def handle(
                layer: nn.Module, activation: Tensor, gradient: Tensor, start: int = start
            ) -> None:
                for part in self._layer_slices(layer, activation, gradient, len(images)):
                    receive(GradientSlice(first + part.first_row, start + part.offset, part.block))

            with self.task.timer.stage("backward"):
                if self.task.unit_gradients:
                    weights = _inverse(self._lengths(value), self.task.share)
                    value = value * weights.to(value)
                self._taps.backward(value.sum(), handle, retain_graph=function < len(values) - 1)

    def _lengths(self, value: Tensor) -> Tensor:
        """Return the length of the gradient of each entry of `value` (rows,): (rows,) float64.

        Raises
        ------
        RuntimeError
            If a parameter is used twice: the sum of two parts has another length than the parts.
        """
        squares = torch.zeros(len(value), dtype=torch.float64, device=value.device)
        seen: set[int] = set()

        def handle(layer: nn.Module, activation: Tensor, gradient: Tensor) -> None:
            own = {id(parameter) for parameter in layer.parameters(recurse=False)}
            if not seen.isdisjoint(own):
                raise RuntimeError(f"{type(layer).__name__} uses parameters a second time")
            seen.update(own)
            for part in self._layer_slices(layer, activation, gradient, len(value)):
                rows = slice(part.first_row, part.first_row + len(part.block))
                lengths = torch.linalg.vector_norm(part.block, dim=1, dtype=torch.float64)
                squares[rows] += lengths.square()

        self._taps.backward(value.sum(), handle, retain_graph=True)
        return squares.sqrt()


def _inverse(length: Tensor, share: float) -> Tensor:
    """Return share / length; 0 for a gradient of length 0, NaN for one that is not finite."""
    inverse = torch.where(length == 0, 0.0, share / length)
    return torch.where(length.isfinite(), inverse, torch.nan)


def _flat(gradients: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the gradients one after the other, (p,); an unused one is zero."""
    return torch.cat(
        [
            torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
            for parameter, gradient in zip(parameters, gradients, strict=False)
        ]
    )
