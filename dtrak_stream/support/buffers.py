"""Large arrays whose memory goes back to the system when they are no longer used.

What malloc gives out, it may keep when it is freed, for each thread apart: the peak of a long run
would depend on which thread was faster.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor


def empty_on(
    device: torch.device, shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return an array to be filled on a device; on a CPU it is zero."""
    if device.type != "cpu":
        return torch.empty(*shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return torch.empty(*shape, dtype=dtype)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux: a fault for 2 MiB, not for 4 KiB
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(*shape)
