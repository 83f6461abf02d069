"""The engine of each kind that can do a task."""

from __future__ import annotations

from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.repeated import RepeatedHookedEngine, RepeatedTimestepBatchedEngine
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.gradients.timestep_batched import PAIRS_PER_PASS, TimestepBatchedEngine


def timestep_batched_engine(
    task: GradientTask, pairs_per_pass: int = PAIRS_PER_PASS, *, compiled: bool = False
) -> TimestepBatchedEngine:
    """Return the exact engine, with `pairs_per_pass` (timestep, draw) pairs in a pass."""
    kind = TimestepBatchedEngine if task.is_plain else RepeatedTimestepBatchedEngine
    return kind(task, pairs_per_pass=pairs_per_pass, compiled=compiled)


def hooked_engine(task: GradientTask, names: frozenset[str], pairs_per_pass: int) -> HookedEngine:
    """Return the fast engine, whose rules serve the parameters in `names`."""
    kind = HookedEngine if task.is_plain else RepeatedHookedEngine
    return kind(task, names, pairs_per_pass)
