"""Products and sums of matrices against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtrak_stream.support import matrix_products
from dtrak_stream.support.buffers import empty_on
from dtrak_stream.support.matrix_products import add_to, multiply, multiply_by_rows

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


@pytest.mark.parametrize("rows", [1, 4, 5, 11])
def test_few_rows_are_multiplied_by_many_a_few_at_a_time(rows, monkeypatch):
    monkeypatch.setattr(matrix_products, "_ROWS_IN_CACHE", 4)
    widths: list[int] = []

    def noted(left, right, out):
        widths.append(right.shape[1])
        return multiply(left, right, out)

    monkeypatch.setattr(matrix_products, "multiply", noted)
    left, right, wide = random_matrix(3, 30), random_matrix(rows, 30, 1), torch.empty(3, 20)
    out = multiply_by_rows(left, right, wide[:, :rows])
    assert np.allclose(out, left.double() @ right.double().T, rtol=1e-5, atol=1e-5)
    assert sum(widths) == rows
    assert max(widths) <= 4


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
