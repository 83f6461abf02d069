"""Rows made of vectors: random Fourier features against the kernel that they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.vector_maps import LONGEST_WITHIN, LinearMap, fourier_map, shortening_of
from dtrak_stream.projectors.dense import NormalProjector

BANDWIDTH = 20.0


def vectors(count: int, length: int = 64, seed: int = 0) -> torch.Tensor:
    """Return (count, length) around a point that is far from 0, as activations may be."""
    generator = torch.Generator().manual_seed(seed)
    return 3 + torch.randn(count, length, generator=generator) * 0.5


def rbf(u: torch.Tensor, bandwidth: float) -> np.ndarray:
    rows = u.double().numpy()
    squares = np.square(rows[:, None] - rows).sum(axis=2)
    kernel: np.ndarray = np.exp(-squares / (2 * bandwidth))
    return kernel


def error_of(width: int) -> float:
    u = vectors(60)
    rows = fourier_map(64, width=width, seed=0, bandwidth=BANDWIDTH)(u).double().numpy()
    return float(np.abs(rows @ rows.T - rbf(u, BANDWIDTH)).max())


def test_products_come_as_close_to_the_kernel_as_their_number_allows():
    for width in (256, 4096):
        assert error_of(width) < 5 / math.sqrt(width)
    assert error_of(4096) < error_of(256) / 2


def test_rows_are_what_their_definition_says():
    u, pairs = vectors(5), 96
    rows = fourier_map(64, width=2 * pairs, seed=7, bandwidth=BANDWIDTH)(u).numpy()
    matrix = NormalProjector(pairs, 7).matrix(0, 64, u.device).double().numpy()
    frequencies = matrix * math.sqrt(pairs / BANDWIDTH)  # (64, pairs), variance 1 / m
    angles = u.double().numpy() @ frequencies
    expected = np.hstack([np.cos(angles), np.sin(angles)]) * math.sqrt(1 / pairs)
    assert frequencies.var() == pytest.approx(1 / BANDWIDTH, rel=0.05)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_every_row_has_length_1():
    rows = fourier_map(64, width=128, seed=0, bandwidth=BANDWIDTH)(vectors(9))
    np.testing.assert_allclose(rows.norm(dim=1), 1, rtol=1e-5)


def test_a_row_depends_on_no_other_and_on_the_seed():
    u, one = vectors(9), fourier_map(64, width=128, seed=0, bandwidth=BANDWIDTH)
    together, alone = one(u), torch.cat([one(each) for each in u.split(2)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    other = fourier_map(64, width=128, seed=1, bandwidth=BANDWIDTH)(u)
    assert not torch.allclose(together, other, atol=0.1)


def test_frequencies_of_fewer_features_are_the_first_ones_of_more():
    u = vectors(4)
    few, many = (fourier_map(64, width=k, seed=0, bandwidth=BANDWIDTH)(u) for k in (64, 256))
    np.testing.assert_allclose(few[:, :32], many[:, :32] * 2, atol=1e-5)
    np.testing.assert_allclose(few[:, 32:], many[:, 128:160] * 2, atol=1e-5)


def test_long_vectors_are_sketched_first():
    length = LONGEST_WITHIN + 1
    u = vectors(3, length)
    rows = fourier_map(length, width=4096, seed=0, bandwidth=4000.0)
    assert rows.identity()["projector"] == "sketch of 4096, random Fourier features"
    short = LinearMap(shortening_of(length, 0), 0)(u)
    np.testing.assert_array_equal(
        rows(u), fourier_map(4096, width=4096, seed=0, bandwidth=4e3)(short)
    )
    assert np.abs((rows(u) @ rows(u).T).numpy() - rbf(u, 4000.0)).max() < 0.1


@pytest.mark.parametrize("width", [32, 96, 2**17])
def test_a_width_that_no_store_has_is_refused(width):
    with pytest.raises(ConfigurationError, match=f"--proj-dim {width}"):
        fourier_map(64, width=width, seed=0, bandwidth=1.0)
