"""The exact engine for any model: one sample's timesteps are one ordinary batch.

f is averaged over timesteps before it is differentiated, so the gradient of one sample is the
gradient of a mean: one ordinary backward pass for each output function, without vmap. Only unit
gradients, which are divided by their length before the average, take every pair by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, TypeAlias, cast

import torch
from torch import Tensor, nn

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.norm_inputs import given_gradients, norms_of
from dtrak_stream.gradients.stream import GradientSlice, Receiver
from dtrak_stream.gradients.task import GradientTask, Pairs, inverse_length

GATHER_BYTES = 64 * 2**20
PAIRS_PER_PASS = 128

Gradients: TypeAlias = Sequence[Tensor | None]
"""The gradient of each parameter; None for one that the output does not depend on."""


@dataclass(frozen=True)
class TimestepBatchedEngine:
    """Per-sample gradients by one backward pass over all (timestep, draw) pairs of a sample.

    Attributes
    ----------
    task
        What is differentiated.
    names
        Parameters it takes the gradients of; None for all of the task's.
    pairs_per_pass
        (timestep, draw) pairs in one forward and backward pass; more are accumulated.
    gather_bytes
        Memory for gradients of several samples handed on together. Projectors are cheaper a
        sample when they get several. Those of one sample are collected, too, unless they take
        more and come from one pass.
    compiled
        Whether the network runs through `torch.compile`, which takes a minute or more at first.
    """

    task: GradientTask
    names: frozenset[str] | None = None
    pairs_per_pass: int = PAIRS_PER_PASS
    gather_bytes: int = GATHER_BYTES
    compiled: bool = False
    name: ClassVar[str] = "timestep-batched"

    @property
    def num_parameters(self) -> int:
        """Return J * p, the length of one sample's gradients of J functions."""
        return self.task.num_gradients

    @cached_property
    def _task(self) -> GradientTask:
        if not self.compiled:
            return self.task
        denoiser = self.task.denoiser
        network = cast(nn.Module, torch.compile(denoiser.network, dynamic=False))
        return replace(self.task, denoiser=replace(denoiser, network=network))

    def with_pairs_per_pass(self, pairs: int) -> TimestepBatchedEngine:
        """Return the same engine with fewer or more pairs in one pass."""
        return replace(self, pairs_per_pass=pairs)

    def close(self) -> None:
        """Do nothing: the network is left as it is."""

    @cached_property
    def _parameters(self) -> dict[str, nn.Parameter]:
        chosen = self.task.parameters
        return {n: p for n, p in chosen.items() if self.names is None or n in self.names}

    @cached_property
    def _runs(self) -> list[tuple[int, slice]]:
        """Return (offset in the flat gradient, columns gathered) of each contiguous run."""
        runs: list[tuple[int, slice]] = []
        offsets, column = self.task.offsets(), 0
        for name, parameter in self._parameters.items():
            stop = column + parameter.numel()
            if runs and runs[-1][0] + column - runs[-1][1].start == offsets[name]:
                first_offset, columns = runs.pop()
                runs.append((first_offset, slice(columns.start, stop)))
            else:
                runs.append((offsets[name], slice(column, stop)))
            column = stop
        return runs

    def stream(self, samples: SampleBatch, receive: Receiver) -> None:
        """Hand on all gradients of a group of samples at a time; see `GradientEngine.stream`."""
        receive = self.task.unscaled(receive)
        functions = len(self.task.output_functions)
        width = sum(parameter.numel() for parameter in self._parameters.values())
        together = self.gather_bytes // (4 * functions * width)
        if not together and self._takes_one_pass:
            self._stream_uncollected(samples, receive)
            return
        rows = max(1, min(together, len(samples)))
        gathered = torch.empty(rows, functions, width, device=self.task.denoiser.device)
        with self.task.arithmetic():
            for first in range(0, len(samples), rows):
                group = samples[first : first + rows]
                for row in range(len(group)):
                    self._gradients_into(gathered[row], group[row : row + 1])
                self._hand_on(gathered[: len(group)], first, receive)

    @property
    def _takes_one_pass(self) -> bool:
        task = self.task
        return not task.unit_gradients and len(task.pairs) <= self.pairs_per_pass

    def _stream_uncollected(self, samples: SampleBatch, receive: Receiver) -> None:
        """Hand on each parameter's gradient as it is: a second copy of all would be large."""
        with self.task.arithmetic():
            for row in range(len(samples)):
                sample = samples[row : row + 1]
                for function, found in enumerate(self._of_pairs(sample, self.task.pairs)):
                    start = function * self.task.num_parameters
                    self._hand_on_each(list(found), row, start, receive)
                    del found  # before the next ones are there

    def _hand_on_each(
        self, gradients: list[Tensor | None], row: int, start: int, receive: Receiver
    ) -> None:
        """Hand on the gradients of one function of the sample in `row`, and let go of each."""
        offsets = self.task.offsets()
        for name in reversed(self._parameters):
            gradient = gradients.pop()
            if gradient is not None:
                block = gradient.reshape(1, -1).float()
                receive(GradientSlice(row, start + offsets[name], block))

    def _hand_on(self, gathered: Tensor, first: int, receive: Receiver) -> None:
        """Hand on the gradients (rows, J, p) of some samples, the first of which is `first`."""
        for function in range(gathered.shape[1]):
            start = function * self.task.num_parameters
            for offset, columns in self._runs:
                receive(GradientSlice(first, start + offset, gathered[:, function, columns]))

    def _gradients_into(self, out: Tensor, sample: SampleBatch) -> None:
        """Write the gradients of one sample into `out` (J, p)."""
        parameters = list(self._parameters.values())
        unit = self._task.unit_gradients
        for number, pairs in enumerate(self._task.passes(1 if unit else self.pairs_per_pass)):
            for place, gradients in zip(out, self._of_pairs(sample, pairs), strict=True):
                if unit:
                    gradients = _of_length(self._task.share, gradients)
                _write_flat(place, gradients, parameters, add=number > 0)

    def _of_pairs(self, sample: SampleBatch, pairs: Pairs) -> Iterator[Gradients]:
        """Yield the gradients of each function's sum over some pairs, one of each parameter."""
        parameters = list(self._parameters.values())
        batch = self._task.noised(sample, pairs)
        with given_gradients(self._norms) as ends:
            # compiled code is not hooked into: there the whole network is gone through
            if self.compiled and self._norms:
                ends.append(batch.noisy.requires_grad_())
            values = self._task.values(self._task.output(batch), batch)  # (J, pairs)
        inputs = [*parameters, *ends]
        for function, value in enumerate(values):
            if not value.requires_grad:  # no output reaches any of the parameters
                yield [None] * len(parameters)
                continue
            with self._task.timer.stage("backward"):
                found = torch.autograd.grad(
                    value.sum(), inputs, allow_unused=True, retain_graph=function < len(values) - 1
                )
            yield found[: len(parameters)]
            del found

    @cached_property
    def _norms(self) -> list[nn.GroupNorm]:
        """Return the norms whose input may need no gradient: none if nothing is frozen."""
        network = self.task.denoiser.network
        frozen = not all(parameter.requires_grad for parameter in network.parameters())
        return norms_of(network, self._parameters) if frozen else []


def _of_length(length: float, gradients: Gradients) -> Gradients:
    """Return the gradients of all parameters, scaled to a common length; see `inverse_length`."""
    used = [gradient for gradient in gradients if gradient is not None]
    lengths = [torch.linalg.vector_norm(each, dtype=torch.float64) for each in used]
    if not lengths:
        return gradients
    factor = inverse_length(torch.linalg.vector_norm(torch.stack(lengths)), length)
    return [None if each is None else each * factor.to(each) for each in gradients]


def _write_flat(
    out: Tensor,
    gradients: Gradients,
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
