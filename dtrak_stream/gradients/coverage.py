"""Which parameters the layer rules serve: found out before the run, by trying.

A rule is right for a layer only if the model uses the layer in the ordinary way. Models differ,
so nothing is assumed: two made-up images go through both engines, and a parameter whose
gradients differ is left to the exact one. Of each parameter's gradient, random sums are compared,
so that trying takes no more memory than a run.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

import torch
from torch import Tensor

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.layer_rules import rule_for
from dtrak_stream.gradients.pass_memory import pairs_that_fit
from dtrak_stream.gradients.stream import GradientEngine, GradientSlice
from dtrak_stream.gradients.task import GradientTask, LossScale
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.support.arithmetic import repeating_if_it_can
from dtrak_stream.support.device import let_go
from dtrak_stream.support.memory import is_out_of_memory
from dtrak_stream.support.random_bits import StreamKey, random_words

_SAMPLES = 2
_PAIRS = 2
_PLENTY = 16  # pairs that fit: with fewer, trying must not need more than a run with small batches
_SUMS = 251  # of each parameter's gradient: lengths are kept but for some percent
_WORD = 2**32 - 1
_TOLERANCE = 1e-2  # a wrong rule is off by far more, rounding in float32 by far less
_TOLERANCE_IN_HALF = 0.1  # where weights are rounded: 1.5e-2 was seen in deep networks
_TOLERANCE_OF_UNITS_IN_HALF = 0.25  # 0.14 was seen; the rules themselves were tried before
_NEGLIGIBLE = 1e-4  # of the whole gradient: below it, differences are rounding


def served_parameters(task: GradientTask) -> frozenset[str]:
    """Return the names of the parameters whose gradients the layer rules give correctly.

    Unit gradients need the length of the whole gradient: all parameters are served, or none.

    Raises
    ------
    MemoryLimitError
        If the device has no room for a made-up image at one timestep.
    """
    tolerance = _TOLERANCE_IN_HALF if _has_weights_in_half(task) else _TOLERANCE
    served = _agreeing(_few_pairs_of(task, unit_gradients=False), _with_a_rule(task), tolerance)
    if not task.unit_gradients:
        return served
    every = frozenset(task.parameters)
    return every if served == every and _unit_gradients_agree(task) else frozenset()


def _unit_gradients_agree(task: GradientTask) -> bool:
    """Return whether both engines give the same unit gradients.

    They round those of half precision, each divided by its length, in their own way; they are
    compared in float32 unless weights are kept in half precision.
    """
    few, every = _few_pairs_of(task, unit_gradients=True), frozenset(task.parameters)
    if _has_weights_in_half(task):
        return _agreeing(few, every, _TOLERANCE_OF_UNITS_IN_HALF) == every
    few = replace(few, autocast=None, scale=LossScale())
    return _agreeing(few, every) == every


def _has_weights_in_half(task: GradientTask) -> bool:
    weights = task.denoiser.network.parameters()
    return any(weight.dtype == task.autocast for weight in weights)


def _few_pairs_of(task: GradientTask, *, unit_gradients: bool) -> GradientTask:
    pairs = _PAIRS if pairs_that_fit(task) >= _PLENTY else 1
    return GradientTask(
        task.denoiser,
        task.parameters,
        task.output_function,
        task.timesteps[:: max(1, len(task.timesteps) - 1)][:pairs],
        task.noise,
        unit_gradients=unit_gradients,
        autocast=task.autocast,
        scale=task.scale,
    )


def _agreeing(
    few: GradientTask, names: frozenset[str], tolerance: float = _TOLERANCE
) -> frozenset[str]:
    """Return those of the parameters whose gradients are the same from both engines."""
    exact = _sums(TimestepBatchedEngine(few, pairs_per_pass=len(few.pairs)), few)
    hooked = HookedEngine(few, names, pairs_per_pass=_SAMPLES * len(few.pairs))
    try:
        fast = _sums(hooked, few)
    except RuntimeError:  # a shape that a rule did not expect
        return frozenset()
    agree = _agree(fast, exact, tolerance)
    return frozenset(
        name
        for name, same in zip(few.parameters, agree, strict=True)
        if same and name in hooked.names
    )


def _with_a_rule(task: GradientTask) -> frozenset[str]:
    """Return the names of parameters that belong to a layer with a rule, and to no other."""
    ruled: set[int] = set()
    others: set[int] = set()
    for layer in task.denoiser.network.modules():
        target = ruled if rule_for(layer) is not None else others
        target.update(id(parameter) for parameter in layer.parameters(recurse=False))
    return frozenset(
        name
        for name, parameter in task.parameters.items()
        if id(parameter) in ruled and id(parameter) not in others
    )


def _sums(engine: GradientEngine, task: GradientTask) -> Tensor:
    """Return random sums of the gradients of the made-up images: (parameters, samples, sums).

    They are computed in passes that there is room for. The engine is closed.
    """
    pairs, device = engine.pairs_per_pass, task.denoiser.device
    try:
        return repeating_if_it_can(lambda: _streamed(engine, task))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        let_go(error, device)
        if pairs == 1:
            raise MemoryLimitError(
                "the gradient of one image at one timestep does not fit in the memory of the "
                "device",
                where=f"--device {device}",
                remedy="free its memory, or use fewer --parameters of a model or --device cpu",
            ) from error
    finally:
        engine.close()
    return _sums(engine.with_pairs_per_pass(pairs // 2), task)


def _streamed(engine: GradientEngine, task: GradientTask) -> Tensor:
    out = torch.zeros(len(task.parameters), _SAMPLES, _SUMS, device=task.denoiser.device)
    places = list(task.offsets().values())

    def receive(part: GradientSlice) -> None:
        rows = slice(part.first_row, part.first_row + len(part.block))
        column, stop = 0, part.block.shape[1]
        number = bisect_right(places, part.offset) - 1
        while column < stop:
            after = places[number + 1] - part.offset if number + 1 < len(places) else stop
            columns = slice(column, min(after, stop))
            first = part.offset + column - places[number]
            _add_sums(out[number, rows], part.block[:, columns], first)
            column, number = columns.stop, number + 1

    engine.stream(_made_up_samples(task), receive)
    return out


def _add_sums(out: Tensor, block: Tensor, first: int) -> None:
    """Add each number (rows, n) of a parameter's gradient from place `first` on, or take it away.

    Place n goes to sum n mod `_SUMS`, under a sign of its own.
    """
    places = torch.arange(first, first + block.shape[1], device=block.device)
    out.index_add_(1, places % _SUMS, (block * _signs(places)).to(out.dtype))


def _signs(places: Tensor) -> Tensor:
    """Return 1 or -1 for each place, as if by chance: two rounds of multiplying and mixing bits."""
    mixed = places
    for factor, shift in ((0x9E3779B1, 15), (0x85EBCA6B, 13)):
        mixed = (mixed * factor) & _WORD
        mixed = mixed ^ (mixed >> shift)
    return (mixed & 1) * 2.0 - 1


def _made_up_samples(task: GradientTask) -> SampleBatch:
    samples = task.denoiser.made_up(_SAMPLES)
    counters = torch.arange(samples.tensors.numel())
    words = random_words(StreamKey("gradients/coverage", 0), (counters, 0, 0, 0))[:, 0]
    numbers = (words.float() / 2**31 - 1).clamp(-1, 1).reshape(samples.tensors.shape)
    return replace(samples, tensors=numbers.to(task.denoiser.device))


def _agree(fast: Tensor, exact: Tensor, tolerance: float) -> list[bool]:
    """Return for each parameter whether its gradients are the same for all samples."""
    error = (fast - exact).norm(dim=2)  # (parameters, samples)
    length = exact.norm(dim=2)
    whole = length.norm(dim=0)
    allowed = tolerance * (length + _NEGLIGIBLE * whole)
    same: list[bool] = (error <= allowed).all(dim=1).tolist()
    return same
