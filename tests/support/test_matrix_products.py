"""Products and sums of matrices against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtrak_stream.support.buffers import empty_on
from dtrak_stream.support.matrix_products import add_to, multiply

CPU = torch.device("cpu")


def random_matrix(rows, columns, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns))).float()


@pytest.mark.parametrize("columns", [slice(0, 30), slice(10, 25)])
def test_a_product_is_that_of_float64(columns):
    left, right = random_matrix(50, 30), random_matrix(50, 30, 1)[:, columns]
    out = torch.empty(30, right.shape[1])
    assert multiply(left.T, right, out) is out
    assert np.allclose(out, left.double().T @ right.double(), rtol=1e-5, atol=1e-5)


def test_a_matrix_times_itself_is_symmetric():
    block = random_matrix(50, 30)
    out = multiply(block.T, block, torch.empty(30, 30))
    assert torch.equal(out, out.T)


def test_sums_are_float64():
    total, term = torch.full((2, 2), 2.0**60, dtype=torch.float64), torch.full((2, 2), 2.0**10)
    add_to(total, term)
    assert (total == 2.0**60 + 2.0**10).all()


def test_memory_of_buffers_goes_back():
    first = empty_on(CPU, (3, 4), torch.float16)
    assert first.shape == (3, 4)
    assert first.dtype == torch.float16
    assert not first.any()
    first += 1
    assert not empty_on(CPU, (3, 4), torch.float16).any()
    assert empty_on(CPU, (0, 4)).shape == (0, 4)
