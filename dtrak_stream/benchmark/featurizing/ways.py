"""The ways of going through all (image, timestep) pairs that are measured against one another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dtrak_stream.benchmark.featurizing.subject import Subject
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.stream import GradientEngine, GradientSlice
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.projectors.table import make_projector

_SIZES = (16, 64, 256, 1024)
TRAINING = "training step"
HOOKED = "hooked"
EXACT = "timestep-batched"
VMAP = "vmap(grad)"
_SKETCH = " + sketch"
HOOKED_AND_SKETCH = HOOKED + _SKETCH


@dataclass(frozen=True)
class Way:
    """One way of going through all pairs of a subject.

    Attributes
    ----------
    name
        What it is called in the table.
    run
        Goes through all pairs, with at most so many in one pass.
    sizes
        Numbers of pairs in one pass to choose from.
    """

    name: str
    run: Callable[[int], None]
    sizes: tuple[int, ...]


def way_names(*, vmap: bool) -> list[str]:
    """Return the names of all ways."""
    engines = [HOOKED, HOOKED_AND_SKETCH, EXACT, EXACT + _SKETCH]
    return [TRAINING, *engines, *([VMAP] if vmap else [])]


def make_way(name: str, subject: Subject, proj_dim: int) -> Way:
    """Return the way called `name` of going through the pairs of `subject`."""
    sizes = tuple(sorted({*(s for s in _SIZES if s < subject.num_pairs), subject.num_pairs}))
    if name == TRAINING:
        return Way(name, lambda size: _train(subject, size), sizes)
    if name == VMAP:
        return Way(name, lambda size: _discard(vmap_gradients(subject, size)), sizes)
    receive = _sketching(subject, proj_dim) if name.endswith(_SKETCH) else _discard
    # the exact engine's batch is one image's timesteps: there is no size to choose
    exact = name.startswith(EXACT)
    served = frozenset() if exact else served_parameters(subject.task)

    def run(size: int) -> None:
        engine: GradientEngine = (
            TimestepBatchedEngine(subject.task)
            if exact
            else HookedEngine(subject.task, served, size)
        )
        try:
            engine.stream(subject.samples, receive)
        finally:
            engine.close()

    return Way(name, run, sizes[:1] if exact else sizes)


def _discard(_piece: object) -> None:
    """Take gradients and do nothing with them."""


def _train(subject: Subject, size: int) -> None:
    """Go forward and backward as a training step does: one gradient for all pairs of a pass."""
    task, step = subject.task, max(1, size // len(subject.task.pairs))
    for first in range(0, len(subject.samples), step):
        samples = subject.samples[first : first + step]
        for pairs in task.passes(size):
            batch = task.noised(samples, pairs)
            value = task.values(task.output(batch), batch).sum()
            torch.autograd.grad(value, list(task.parameters.values()))


def _sketching(subject: Subject, proj_dim: int) -> Callable[[GradientSlice], None]:
    projector = make_projector(
        "sketch", proj_dim=proj_dim, seed=0, num_parameters=subject.task.num_parameters
    )
    out = torch.zeros(len(subject.samples), proj_dim, device=subject.task.denoiser.device)

    def receive(piece: GradientSlice) -> None:
        rows = slice(piece.first_row, piece.first_row + len(piece.block))
        projector.add(piece.block, piece.offset, out[rows])

    return receive


def vmap_gradients(subject: Subject, size: int) -> Tensor:
    """Return gradients (B, p) as TRAK and D-TRAK were published: vmap(grad) for each timestep."""
    task, kept = subject.task, []
    network = task.denoiser.network
    detached = {name: p.detach() for name, p in task.parameters.items()}

    def f(parameters: dict[str, Tensor], noisy: Tensor, target: Tensor, timestep: Tensor) -> Tensor:
        arguments = (noisy[None], timestep[None])
        output = functional_call(network, parameters, arguments, {"return_dict": False})[0]
        return task.output_function(output, target[None], timestep[None])[0]

    per_sample = vmap(grad(f), in_dims=(None, 0, 0, 0))
    with _attention_for_vmap(network), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # operators without a batching rule are said to be slow
        for first in range(0, len(subject.samples), size):
            samples = subject.samples[first : first + size]
            total = torch.zeros(len(samples), task.num_parameters, device=task.denoiser.device)
            for pair in task.pairs:
                batch = task.noised(samples, (pair,))
                found = per_sample(detached, batch.noisy, batch.target, batch.timesteps)
                total += torch.cat([each.flatten(1) for each in found.values()], dim=1)
            kept.append(total / len(task.pairs))
    return torch.cat(kept)


@contextmanager
def _attention_for_vmap(network: nn.Module) -> Iterator[None]:
    """Let attention layers multiply matrices, since vmap has no rule for the fused kernel."""
    layers = [layer for layer in network.modules() if isinstance(layer, Attention)]
    before = [layer.processor for layer in layers]
    for layer in layers:
        layer.set_processor(AttnProcessor())
    try:
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)
