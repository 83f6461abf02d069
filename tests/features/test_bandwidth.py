"""The bandwidth of random Fourier features: a median over pairs of training images."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import InputError
from dtrak_stream.features.bandwidth import (
    SAMPLED,
    median_bandwidth,
    sampled_places,
    squared_distances,
)
from tests.small_jobs import random_pixels, save_images, spoil


def flattened(batch):
    return batch.tensors.flatten(1)


def bandwidth_of(folder) -> float:
    return median_bandwidth(open_images(str(folder), None), flattened, 0, visible=False)


def test_it_is_the_median_over_all_pairs_of_images_that_can_be_read(tmp_path, capsys):
    pixels = random_pixels(6)
    folder = save_images(tmp_path / "images", pixels)
    spoil(folder / "003.png")
    rows = np.delete(pixels, 3, axis=0).reshape(5, 64) / 127.5 - 1
    exact = np.median([np.square(a - b).sum() for a, b in combinations(rows, 2)])
    found = bandwidth_of(folder)
    assert found == float(f"{exact:.3g}")
    assert f"bandwidth {found:g}, the median squared distance of 5" in capsys.readouterr().err


def test_distances_of_vectors_far_from_0_keep_their_digits():
    u = 1000 + torch.randn(20, 8, generator=torch.Generator().manual_seed(0)) * 1e-2
    exact = [(a - b).square().sum().item() for a, b in combinations(u.double(), 2)]
    np.testing.assert_allclose(squared_distances(u), exact, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, SAMPLED, SAMPLED + 1, 2 * SAMPLED - 1, 10**9 + 7])
def test_one_image_of_each_equal_part_is_looked_at(count):
    places = np.array(sampled_places(count, 0))
    assert len(places) == min(count, SAMPLED)
    edges = np.arange(len(places) + 1) * count // max(1, len(places))
    assert (edges[:-1] <= places).all()
    assert (places < edges[1:]).all()


def test_which_ones_depends_on_the_seed_alone():
    assert sampled_places(10**6, 3) == sampled_places(10**6, 3)
    assert sampled_places(10**6, 3) != sampled_places(10**6, 4)


@pytest.mark.parametrize("count", [1, 5])
def test_images_that_tell_no_distance_are_refused_with_the_option(tmp_path, count):
    same = np.repeat(random_pixels(1), count, axis=0)
    with pytest.raises(InputError, match=f"{count} images: too few.*--bandwidth M"):
        bandwidth_of(save_images(tmp_path / "images", same))
