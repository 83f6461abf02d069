"""Products of float32 matrices, by the fastest routine there is for them on a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_ROWS_IN_CACHE = 512


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


def multiply_by_rows(left: Tensor, rows: Tensor, out: Tensor) -> Tensor:
    """Compute left @ rows.T: (n, m) @ (m, n') -> (n, n') float32, of few by many.

    Parameters
    ----------
    left, rows
        (n, m) and (n', m) on one device. A CPU takes some rows at a time, which stay in its cache
        with what becomes of them.
    out
        (n, n'), the result.
    """
    at_a_time = _ROWS_IN_CACHE if out.device.type == "cpu" else len(rows)
    for start in range(0, len(rows), at_a_time):
        part = slice(start, start + at_a_time)
        multiply(left, rows[part].T, out[:, part])
    return out


def add_to(total: Tensor, term: Tensor) -> None:
    """Add a matrix to a float64 one of the same shape, in place."""
    if total.device.type == "cpu":
        np.add(total.numpy(), term.numpy(), out=total.numpy())  # torch would make a float64 copy
    else:
        total += term
