"""Random projections on a GPU: the map of the CPU."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.projectors.dense import NormalProjector, RademacherProjector
from dtrak_stream.projectors.table import make_projector

CPU = torch.device("cpu")
PLACES = [(0, 100), (77, 333), (4096 * 3 + 5, 20_000), (0, 200_000)]


def projected(name, where, offset, length, rows=3, proj_dim=512):
    projector = make_projector(name, proj_dim=proj_dim, seed=5, num_parameters=length + offset)
    block = torch.randn(rows, length, generator=torch.Generator().manual_seed(0)).to(where)
    out = torch.zeros(rows, projector.proj_dim, device=where)
    projector.add(block, offset, out)
    return out.cpu()


@pytest.mark.parametrize(("offset", "length"), PLACES)
@pytest.mark.parametrize("name", ["sketch", "rademacher", "normal", "identity"])
def test_projections_are_those_of_the_cpu(device, name, offset, length):
    here, there = (projected(name, where, offset, length) for where in (CPU, device))
    assert here.any()
    assert (here - there).norm() <= 1e-5 * here.norm()


@pytest.mark.parametrize(("offset", "length"), PLACES[:2])
def test_the_kernel_of_the_sketch_gives_the_bits_of_the_torch_path(device, offset, length):
    here, there = (projected("sketch", where, offset, length) for where in (CPU, device))
    assert torch.equal(here, there)


@pytest.mark.parametrize("name", ["sketch", "rademacher", "normal"])
def test_projections_are_the_same_bits_each_time(device, name):
    first = projected(name, device, *PLACES[2])
    assert torch.equal(projected(name, device, *PLACES[2]), first)


@pytest.mark.parametrize("kind", [RademacherProjector, NormalProjector])
def test_dense_matrices_are_the_same_bits_as_on_the_cpu(device, kind):
    projector = kind(192, 5)
    here, there = (projector.matrix(777, 500, where).cpu() for where in (CPU, device))
    assert torch.equal(here, there)


def test_a_sketch_on_another_gpu_than_the_current_one(gpu):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU only")
    other = torch.device("cuda", (torch.cuda.current_device() + 1) % torch.cuda.device_count())
    assert torch.equal(projected("sketch", other, *PLACES[2]), projected("sketch", gpu, *PLACES[2]))
