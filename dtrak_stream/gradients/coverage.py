"""Which parameters the layer rules serve: found out before the run, by trying.

A rule is right for a layer only if the model uses the layer in the ordinary way. Models differ,
so nothing is assumed: two made-up images go through both engines, and a parameter whose
gradients differ is left to the exact one.
"""

from __future__ import annotations

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
_TOLERANCE = 1e-2  # a wrong rule is off by far more, rounding in half precision by less
_TOLERANCE_IN_HALF = 0.1  # of unit gradients, which are rounded twice
_NEGLIGIBLE = 1e-4  # of the whole gradient: below it, differences are rounding


def served_parameters(task: GradientTask) -> frozenset[str]:
    """Return the names of the parameters whose gradients the layer rules give correctly.

    Unit gradients need the length of the whole gradient: all parameters are served, or none.

    Raises
    ------
    MemoryLimitError
        If the device has no room for a made-up image at one timestep.
    """
    served = _agreeing(_few_pairs_of(task, unit_gradients=False), _with_a_rule(task))
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
    weights = task.denoiser.network.parameters()
    if any(weight.dtype == task.autocast for weight in weights):
        return _agreeing(few, every, _TOLERANCE_IN_HALF) == every
    few = replace(few, autocast=None, scale=LossScale())
    return _agreeing(few, every) == every


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
    hooked = HookedEngine(few, names, pairs_per_pass=_SAMPLES * len(few.pairs))
    try:
        fast = _gradients(hooked, few)
    except RuntimeError:  # a shape that a rule did not expect
        return frozenset()
    exact = _gradients(TimestepBatchedEngine(few, pairs_per_pass=len(few.pairs)), few)
    return frozenset(name for name in hooked.names if _agree(name, fast, exact, few, tolerance))


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


def _gradients(engine: GradientEngine, task: GradientTask) -> Tensor:
    """Return the gradients (samples, p) of the made-up images, in passes that there is room for.

    The engine is closed.
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
    return _gradients(engine.with_pairs_per_pass(pairs // 2), task)


def _streamed(engine: GradientEngine, task: GradientTask) -> Tensor:
    out = torch.zeros(_SAMPLES, task.num_parameters, device=task.denoiser.device)

    def receive(part: GradientSlice) -> None:
        rows = slice(part.first_row, part.first_row + len(part.block))
        out[rows, part.offset : part.offset + part.block.shape[1]] += part.block

    engine.stream(_made_up_samples(task), receive)
    return out


def _made_up_samples(task: GradientTask) -> SampleBatch:
    samples = task.denoiser.made_up(_SAMPLES)
    counters = torch.arange(samples.tensors.numel())
    words = random_words(StreamKey("gradients/coverage", 0), (counters, 0, 0, 0))[:, 0]
    numbers = (words.float() / 2**31 - 1).clamp(-1, 1).reshape(samples.tensors.shape)
    return replace(samples, tensors=numbers.to(task.denoiser.device))


def _agree(name: str, fast: Tensor, exact: Tensor, task: GradientTask, tolerance: float) -> bool:
    start = task.offsets()[name]
    place = slice(start, start + task.parameters[name].numel())
    error = (fast[:, place] - exact[:, place]).norm(dim=1)
    length = exact[:, place].norm(dim=1)
    allowed = tolerance * (length + _NEGLIGIBLE * exact.norm(dim=1))
    return bool((error <= allowed).all())
