"""How many (sample, timestep, draw) triples there is memory for in one pass."""

from __future__ import annotations

from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.support.device import free_memory, let_go
from dtrak_stream.support.memory import is_out_of_memory

_BESIDES = 1.25  # times what is kept: what the backward pass holds while it goes through a layer


def pairs_that_fit(task: GradientTask) -> int:
    """Return how many triples one pass may have on the task's device: at least 1.

    On a CPU nothing else tells: a process that takes more than there is gets no error, it is ended.
    """
    kept = bytes_of_a_pair(task)
    if kept is None:
        return 1
    return max(1, int(free_memory(task.denoiser.device) / (_BESIDES * max(1, kept))))


def bytes_of_a_pair(task: GradientTask) -> int | None:
    """Return how many bytes a pass keeps of each triple; None if there is no room for one."""
    try:
        return task.bytes_of_a_pair
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        let_go(error, task.denoiser.device)
        return None
