"""The fast engine: many samples and timesteps in one pass, gradients layer by layer.

The loss of a sample reaches only its own rows of every activation, so the gradient of a layer's
parameters for one sample is a product of that sample's inputs and output gradients. Each
layer's block is handed on as soon as the backward pass has been there, and dropped. Every output
function takes a backward pass over the same forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.layer_rules import Part, Rule, rule_for
from dtrak_stream.gradients.stream import GradientSlice, Receiver
from dtrak_stream.gradients.taps import Handler, Taps
from dtrak_stream.gradients.task import GradientTask, Pairs, inverse_length
from dtrak_stream.gradients.timestep_batched import PAIRS_PER_PASS, TimestepBatchedEngine

_CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
_JOINED_BYTES = 2**17  # a larger block is handed on alone: joining would only copy it


@dataclass(frozen=True)
class HookedEngine:
    """Per-sample gradients from layer inputs and output gradients of one large batch.

    For unit gradients, a first backward pass finds the length of the gradient of every
    (sample, pair), and a second one takes each divided by its length: gradients are linear in
    the functions. That needs a rule for every parameter.

    Attributes
    ----------
    task
        What is differentiated.
    names
        Parameters that layer rules serve. The task's others are served by `TimestepBatchedEngine`.
    pairs_per_pass
        (sample, timestep, draw) triples in one forward and backward pass, at most.
    chunk_bytes
        Inputs, output gradients and blocks of one layer that are worked on together; one sample
        is always allowed.
    """

    task: GradientTask
    names: frozenset[str]
    pairs_per_pass: int
    chunk_bytes: int | None = None
    name: ClassVar[str] = "hooked"

    @property
    def num_parameters(self) -> int:
        """Return J * p, the length of one sample's gradients of J functions."""
        return self.task.num_gradients

    @cached_property
    def others(self) -> TimestepBatchedEngine | None:
        """Return the engine for the parameters that no rule serves, None if there are none."""
        names = frozenset(self.task.parameters) - self.names
        if not names:
            return None
        pairs = min(self.pairs_per_pass, PAIRS_PER_PASS)
        return TimestepBatchedEngine(self.task, names, pairs_per_pass=pairs)

    def stream(self, samples: SampleBatch, receive: Receiver) -> None:
        """Hand on each layer's block during the backward pass; see `GradientEngine.stream`."""
        together = max(1, self.pairs_per_pass // len(self.task.pairs))
        unscaled = self.task.unscaled(receive)
        with self.task.arithmetic():
            for first in range(0, len(samples), together):
                some = samples[first : first + together]
                for pairs in self.task.passes(self.pairs_per_pass):
                    self._one_pass(some, pairs, first, unscaled)
        if self.others is not None:
            self.others.stream(samples, receive)

    def _one_pass(self, samples: SampleBatch, pairs: Pairs, first: int, receive: Receiver) -> None:
        batch = self.task.noised(samples, pairs)
        # (J, samples * pairs)
        values = self._taps.forward(lambda: self.task.values(self.task.output(batch), batch))
        for function, value in enumerate(values):
            handle = self._handler(len(samples), first, function, receive)
            with self.task.timer.stage("backward"):
                if self.task.unit_gradients:
                    lengths = self._lengths(value)
                    value = value * inverse_length(lengths, self.task.share).to(value)
                self._taps.backward(value.sum(), handle, retain_graph=function < len(values) - 1)

    def _handler(self, samples: int, first: int, function: int, receive: Receiver) -> Handler:
        """Return what hands on each layer's slices of the gradients of a function."""
        start = function * self.task.num_parameters

        def handle(layer: nn.Module, activation: Tensor, gradient: Tensor) -> None:
            for part in self._layer_slices(layer, activation, gradient, samples):
                receive(GradientSlice(first + part.first_row, start + part.offset, part.block))

        return handle

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

    def with_pairs_per_pass(self, pairs: int) -> HookedEngine:
        """Return the same engine with fewer or more pairs in one pass; this one is closed."""
        self.close()
        return replace(self, pairs_per_pass=pairs)

    def close(self) -> None:
        """Take the taps off the network."""
        self._taps.remove()

    def _layer_slices(
        self, layer: nn.Module, activation: Tensor, gradient: Tensor, samples: int
    ) -> Iterator[GradientSlice]:
        """Yield the layer's slices, some samples at a time."""
        rows = len(gradient) // samples
        step = self._samples_per_chunk(layer, activation, gradient, samples)
        for start in range(0, samples, step):
            stop = min(start + step, samples)
            part = slice(start * rows, stop * rows)
            parts = self._rules[layer](
                layer, _single(activation[part]), _single(gradient[part]), stop - start
            )
            for offset, block in self._joined(layer, parts):
                yield GradientSlice(start, offset, block)

    def _samples_per_chunk(
        self, layer: nn.Module, activation: Tensor, gradient: Tensor, samples: int
    ) -> int:
        numbers = (activation.numel() + gradient.numel()) // samples + self._widths[layer]
        limit = self.chunk_bytes or _CHUNK_BYTES.get(gradient.device.type, 64 * 2**20)
        return max(1, min(samples, limit // (4 * numbers)))

    def _joined(self, layer: nn.Module, parts: Iterator[Part]) -> Iterator[tuple[int, Tensor]]:
        """Yield (offset, block) of parts; small ones that lie side by side come as one."""
        held: list[Tensor] = []
        start = stop = 0
        for name, within, block in parts:
            offset = self._offset(layer, name)
            if offset is None:
                continue
            offset += within
            alone = held and max(block.nbytes, held[-1].nbytes) > _JOINED_BYTES
            if held and (offset != stop or alone):
                yield start, _side_by_side(held)
                held = []
            if not held:
                start = offset
            held.append(block)
            stop = offset + block.shape[1]
        if held:
            yield start, _side_by_side(held)

    def _offset(self, layer: nn.Module, name: str) -> int | None:
        return self._offsets.get(id(getattr(layer, name)))

    @cached_property
    def _offsets(self) -> dict[int, int]:
        places = self.task.offsets()
        return {id(self.task.parameters[name]): places[name] for name in self.names}

    @cached_property
    def _rules(self) -> dict[nn.Module, Rule]:
        """Return the rule of every layer that owns a served parameter."""
        found = {}
        for layer in self.task.denoiser.network.modules():
            rule = rule_for(layer)
            own = layer.parameters(recurse=False)
            if rule is not None and any(id(parameter) in self._offsets for parameter in own):
                found[layer] = rule
        return found

    @cached_property
    def _widths(self) -> dict[nn.Module, int]:
        return {
            layer: sum(
                parameter.numel()
                for parameter in layer.parameters(recurse=False)
                if id(parameter) in self._offsets
            )
            for layer in self._rules
        }

    @cached_property
    def _taps(self) -> Taps:
        return Taps(list(self._rules), self.task.denoiser.device)


def _single(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _side_by_side(blocks: list[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)
