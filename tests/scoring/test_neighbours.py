"""Residuals beside those of the nearest images, against a slow float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.errors import InputError, MemoryLimitError
from dtrak_stream.scoring import neighbours as neighbours_module
from dtrak_stream.scoring.neighbours import (
    HeldPlaces,
    Neighbourhood,
    block_bytes,
    relative_at_once,
    rows_of_block,
)
from dtrak_stream.seen.detection import area_under_curve
from dtrak_stream.store.row_stream import CPU

SIZES = (41, 17)


def slowly(places, residuals, count):
    """Return each residual over the geometric mean of those of its nearest, in float64."""
    places = np.concatenate(places).astype(np.float64)
    found = np.full(len(residuals), np.nan)
    for image in np.flatnonzero(np.isfinite(residuals)):
        others = [other for other in np.flatnonzero(np.isfinite(residuals)) if other != image]
        others.sort(key=lambda other: np.sum((places[image] - places[other]) ** 2))
        product = np.prod([residuals[other] ** (1 / count) for other in others[:count]])
        found[image] = residuals[image] / product
    return found


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    places = [generator.normal(size=(size, 5)).astype(np.float32) for size in SIZES]
    residuals = np.exp(generator.normal(size=sum(SIZES)))
    residuals[[3, 50]] = np.nan
    return places, residuals


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(neighbours_module, "ROWS_OF_TILE", 4)
    monkeypatch.setattr(neighbours_module, "COLUMNS_OF_TILE", 7)


@pytest.mark.parametrize("count", [1, 20, 55])
def test_the_nearest_of_both_sets_count_and_images_without_a_residual_do_not(images, count):
    places, residuals = images
    found = relative_at_once(places, residuals, count)
    np.testing.assert_allclose(found, slowly(places, residuals, count), rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(residuals))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("rows", [4, 8, 20, 64])
def test_blocks_of_any_size_give_the_same_numbers(images, rows):
    places, residuals = images
    held = tuple(map(HeldPlaces, places))
    both = Neighbourhood(held, np.log(residuals), 20)
    blocks = both.blocks(rows)
    found = np.concatenate([both.relative(block, CPU) for block in blocks])
    np.testing.assert_array_equal(found, relative_at_once(places, residuals, 20))
    np.testing.assert_allclose(found, slowly(places, residuals, 20), rtol=1e-12)
    assert [block.first for block in blocks][-1] < sum(SIZES)
    assert sum(len(block.rows) for block in blocks) == sum(SIZES)


def test_equal_images_are_neighbours_of_each_other_and_not_of_themselves():
    places = np.repeat(np.arange(4, dtype=np.float32), 2)[:, None]
    residuals = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    found = relative_at_once([places], residuals, 1)
    np.testing.assert_allclose(found, residuals / [2, 1, 4, 3, 6, 5, 8, 7])


def test_more_neighbours_than_images_are_refused(images):
    places, residuals = images
    known = int(np.isfinite(residuals).sum())
    relative_at_once(places, residuals, known - 1)
    with pytest.raises(InputError, match=f"--neighbours {known}: there are {known} images"):
        relative_at_once(places, residuals, known)


def test_blocks_are_as_long_as_memory_allows():
    places = [HeldPlaces(np.zeros((size, 64), np.float32)) for size in (20_000, 100)]
    most = rows_of_block(places, 20, memory_limit=2**40)
    assert most == 32 * 512
    limit = block_bytes(places, 20, 1024)
    assert rows_of_block(places, 20, memory_limit=limit) == 1024
    assert rows_of_block(places, 20, memory_limit=limit - 1) == 512
    with pytest.raises(MemoryLimitError, match="finding 20 neighbours"):
        rows_of_block(places, 20, memory_limit=block_bytes(places, 20, 512) - 1)


def test_what_is_hard_for_all_images_of_a_kind_is_taken_out():
    """Residuals that are mostly a matter of where an image lies tell little by themselves."""
    generator = np.random.default_rng(1)
    places = [generator.uniform(0, 10, size=(size, 2)) for size in (600, 300)]
    hardness = np.concatenate([6 * np.sin(each[:, 0]) * np.cos(each[:, 1]) for each in places])
    known = np.arange(900) < 600
    residuals = np.exp(hardness - 1.0 * known + 0.3 * generator.normal(size=900))
    plain = area_under_curve(residuals[known], residuals[~known])
    relative = relative_at_once([each.astype(np.float32) for each in places], residuals, 20)
    told = area_under_curve(relative[known], relative[~known])
    assert plain.value < 0.65
    assert told.value > 0.75
