"""Products of float32 matrices, by the fastest routine there is for them on a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def multiply(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """Compute left @ right: (n, m) @ (m, n') -> (n, n') float32.

    Parameters
    ----------
    left, right
        On one device. Where one is the other, transposed, a CPU does half the work.
    out
        (n, n'), the result.
    """
    if out.device.type == "cpu":
        # NumPy's BLAS is told when both are one matrix, and is the faster one on some processors
        np.matmul(left.numpy(), right.numpy(), out=out.numpy())
        return out
    return torch.mm(left, right, out=out)


def add_to(total: Tensor, term: Tensor) -> None:
    """Add a matrix to a float64 one of the same shape, in place."""
    if total.device.type == "cpu":
        np.add(total.numpy(), term.numpy(), out=total.numpy())  # torch would make a float64 copy
    else:
        total += term
