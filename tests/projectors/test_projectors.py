"""Projectors: slow references, independence of slicing, and the statistics they promise."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.projectors.dense import NormalProjector, RademacherProjector
from dtrak_stream.projectors.projector import IdentityProjector, SideBySideProjector
from dtrak_stream.projectors.sketch import SketchProjector
from dtrak_stream.projectors.table import PROJECTORS, RANDOM_PROJECTORS, make_projector
from dtrak_stream.support.random_bits import StreamKey, random_words

RANDOM = RANDOM_PROJECTORS

CPU = torch.device("cpu")
PINNED = {
    "sketch": [2.5999999046325684, -0.5100001096725464, 1.2799999713897705],
    "rademacher": [-3.314999580383301, 0.8175002336502075, -1.874999761581421],
    "normal": [1.2284306287765503, 2.489018201828003, -0.3063505291938782],
}


def make(name, proj_dim=64, seed=0, num_parameters=1000):
    return make_projector(name, proj_dim=proj_dim, seed=seed, num_parameters=num_parameters)


def project(projector, gradients, cuts=()):
    out = torch.zeros(len(gradients), projector.proj_dim)
    edges = [0, *sorted(cuts), gradients.shape[1]]
    for start, stop in pairwise(edges):
        projector.add(gradients[:, start:stop].clone(), start, out)
    return out


def gradients_of(rows, length, seed=0):
    return torch.randn(rows, length, generator=torch.Generator().manual_seed(seed))


def as_matrix(projector, length):
    """Return the projector as a (length, k) matrix by projecting unit vectors."""
    return project(projector, torch.eye(length)).double()


def bit(key, counter, place):
    return int(random_words(key, (counter, 0, 0, 0))[place // 32]) >> (place % 32) & 1


def slow_sketch(gradient, proj_dim, row_length, seed):
    """Entry by entry: sign, column within its row, rotation, bucket."""
    out = torch.zeros(proj_dim, dtype=torch.float64)
    for i, value in enumerate(gradient.double()):
        sign = 1 - 2 * bit(StreamKey("projector/sketch/sign", seed), i // 128, i % 128)
        row = i // row_length
        shift = int(random_words(StreamKey("projector/sketch/shift", seed), (row, 0, 0, 0))[0])
        out[(i % row_length + shift % row_length) % proj_dim] += sign * value
    return out


@pytest.mark.parametrize("length", [1, 63, 64, 200, 333])
@pytest.mark.parametrize("seed", [0, 7])
def test_sketch_equals_its_definition_entry_by_entry(length, seed):
    gradient = gradients_of(1, length)
    sketch = project(SketchProjector(64, seed), gradient)[0].double()
    torch.testing.assert_close(sketch, slow_sketch(gradient[0], 64, 64, seed), atol=1e-5, rtol=1e-5)


def test_the_halves_of_a_sketch_add_up_to_one_of_half_the_dimension():
    gradients = gradients_of(1, 1000)
    sketch = project(SketchProjector(256, 1), gradients)[0].double()
    half = sketch[:128] + sketch[128:]
    quarter = half[:64] + half[64:]
    for folded, proj_dim in ((half, 128), (quarter, 64)):
        expected = slow_sketch(gradients[0], proj_dim, 256, 1)
        torch.testing.assert_close(folded, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["rademacher", "normal"])
def test_dense_projection_is_a_product_with_its_matrix(name):
    gradients = gradients_of(3, 500)
    projector = make(name, proj_dim=192)
    matrix = projector.matrix(0, 500, CPU)
    expected = (gradients.double() @ matrix.double()).float()
    torch.testing.assert_close(project(projector, gradients), expected, atol=1e-4, rtol=1e-4)


def test_rademacher_entries_are_plus_and_minus_one_over_root_k():
    matrix = RademacherProjector(128, 0).matrix(0, 1000, CPU) * math.sqrt(128)
    torch.testing.assert_close(matrix.abs(), torch.ones_like(matrix))
    assert abs(float(matrix.mean())) < 4 / math.sqrt(matrix.numel())


def test_normal_entries_have_variance_one_over_k():
    matrix = NormalProjector(128, 0).matrix(0, 2000, CPU) * math.sqrt(128)
    assert abs(float(matrix.mean())) < 4 / math.sqrt(matrix.numel())
    assert abs(float(matrix.var()) - 1) < 0.02


def test_normal_entries_are_distributed_as_normals():
    entries = NormalProjector(128, 0).matrix(0, 2000, CPU).flatten() * math.sqrt(128)
    assert scipy.stats.kstest(entries.numpy(), "norm").pvalue > 1e-3
    assert 4 < float(entries.abs().max()) < 4.4


@pytest.mark.parametrize("name", ["rademacher", "normal"])
@pytest.mark.parametrize(("few", "many"), [(64, 192), (192, 4096), (128, 65_536)])
def test_a_column_is_the_same_for_every_proj_dim(name, few, many):
    narrow, wide = make(name, proj_dim=few), make(name, proj_dim=many)
    expected = wide.matrix(5, 3, CPU)[:, :few] * math.sqrt(many / few)
    torch.testing.assert_close(narrow.matrix(5, 3, CPU), expected)


@pytest.mark.parametrize("name", ["rademacher", "normal"])
def test_neither_rows_nor_columns_of_a_matrix_repeat(name):
    matrix = make(name, proj_dim=1024).matrix(0, 1024, CPU).double()
    for gram in (matrix @ matrix.T, matrix.T @ matrix):
        assert float((gram - torch.eye(1024)).abs().max()) < 0.25  # 8 standard errors


@pytest.mark.parametrize("name", ["rademacher", "normal"])
@pytest.mark.parametrize("tile_entries", [1, 1000, 10**7])
def test_tile_size_does_not_change_the_map(name, tile_entries):
    gradients = gradients_of(2, 300)
    kind = {"rademacher": RademacherProjector, "normal": NormalProjector}[name]
    tiled = project(kind(64, 0, tile_entries=tile_entries), gradients)
    torch.testing.assert_close(tiled, project(kind(64, 0), gradients), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PROJECTORS)
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_any_slicing_gives_the_same_feature(name, data):
    length = data.draw(st.integers(1, 700))
    cuts = data.draw(st.lists(st.integers(0, length), max_size=5))
    gradients = gradients_of(2, length)
    projector = make(name, num_parameters=length)
    torch.testing.assert_close(
        project(projector, gradients, cuts), project(projector, gradients), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", RANDOM)
def test_projection_is_linear(name):
    x, y = gradients_of(2, 900)
    projector = make(name)
    together = project(projector, (2 * x - 3 * y)[None])
    apart = 2 * project(projector, x[None]) - 3 * project(projector, y[None])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", RANDOM)
def test_a_row_does_not_depend_on_the_batch_it_comes_in(name):
    gradients = gradients_of(5, 800)
    projector = make(name)
    alone = torch.cat([project(projector, row[None]) for row in gradients])
    torch.testing.assert_close(project(projector, gradients), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", RANDOM)
def test_inner_products_are_kept_on_average_with_the_variance_of_theory(name):
    """E<Px,Py> = <x,y> over seeds; variance (|x|^2 |y|^2 + <x,y>^2 - 2 sum x_i^2 y_i^2) / k.

    (For normal entries without the last term.)
    """
    x, y = gradients_of(2, 600)
    y = y + 0.5 * x
    proj_dim, seeds = 64, 600
    products = []
    for seed in range(seeds):
        px, py = project(make(name, proj_dim, seed), torch.stack([x, y]))
        products.append(float(px @ py))
    found = torch.tensor(products).double()
    x, y = x.double(), y.double()
    spikes = 0 if name == "normal" else 2 * float((x * y).square().sum())
    theory = float(x @ x * (y @ y) + (x @ y) ** 2 - spikes) / proj_dim
    assert abs(float(found.mean() - x @ y)) < 4 * math.sqrt(theory / seeds)
    assert 0.8 < float(found.var()) / theory < 1.25


@pytest.mark.parametrize("name", RANDOM)
def test_seeds_give_different_maps(name):
    first, second = (as_matrix(make(name, seed=seed), 300) for seed in (0, 1))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("name", RANDOM)
def test_columns_do_not_repeat(name):
    """No two parameters far apart share a column of signs and places."""
    matrix = as_matrix(make(name, proj_dim=64), 2000)
    overlap = matrix @ matrix.T - torch.eye(2000)
    assert float(overlap.abs().mean()) < 0.2


def test_identity_keeps_the_gradient():
    gradients = gradients_of(2, 50)
    assert torch.equal(project(IdentityProjector(50), gradients, [20, 30]), gradients)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("proj_dim", [0, 32, 100, 65_600, -64])
def test_unsupported_dimension_is_refused(name, proj_dim):
    with pytest.raises(ConfigurationError, match=rf"--proj-dim {proj_dim}.*multiple of 64"):
        make(name, proj_dim=proj_dim)


@pytest.mark.parametrize("proj_dim", [64, 65_536])
@pytest.mark.parametrize("name", RANDOM)
def test_smallest_and_largest_dimension_work(name, proj_dim):
    out = project(make(name, proj_dim=proj_dim), gradients_of(1, 100))
    assert out.shape == (1, proj_dim)
    assert torch.isfinite(out).all()
    assert float(out.norm()) > 0


def test_unknown_projector_is_refused():
    with pytest.raises(ConfigurationError, match=", ".join(PROJECTORS)):
        make("srht")


def test_maps_stay_what_they_were():
    """Features on disk depend on these maps: if this fails, raise the projector's version."""
    gradients = torch.arange(1.0, 201.0)[None] / 100
    found = {name: project(make(name), gradients)[0, :3].tolist() for name in RANDOM}
    for name, expected in PINNED.items():
        assert found[name] == pytest.approx(expected, rel=1e-5), found


@pytest.mark.parametrize("name", RANDOM)
def test_several_gradients_are_projected_side_by_side_by_the_same_map(name):
    each = make(name, num_parameters=100)
    several = SideBySideProjector(each, 3, 100)
    assert (several.name, several.version, several.proj_dim) == (name, each.version, 192)
    gradients = gradients_of(2, 300)
    out = torch.zeros(2, 192)
    for start, stop in ((0, 100), (100, 130), (130, 200), (200, 300)):
        several.add(gradients[:, start:stop].clone(), start, out)
    parts = [project(each, part) for part in gradients.split(100, dim=1)]
    torch.testing.assert_close(out, torch.cat(parts, dim=1))
