"""The GPU kernel of the sketch, run by Triton's interpreter on the CPU, against the torch path."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

COMPARE = """
import json, sys, warnings
import torch
from dtrak_stream.projectors.sketch import SketchProjector

def outcome(proj_dim, length, offset, rows):
    projector = SketchProjector(proj_dim, 3)
    # columns of wider arrays, as a slice of a gradient and the features of one path are
    block = torch.randn(rows, length + 5, generator=torch.Generator().manual_seed(0))[:, 2:-3]
    start = torch.randn(rows, proj_dim, generator=torch.Generator().manual_seed(1))
    around = torch.zeros(rows, proj_dim + 64)
    plain, fused = start.clone(), around[:, 32:-32].copy_(start)
    projector.add(block.clone(), offset, plain)
    projector.add_fused(block, offset, fused)
    alone = start[:1].clone()
    spread = torch.stack([block[0], block[0]], dim=1).T[:1]  # every other entry of a row
    projector.add_fused(spread, offset, alone)
    exact = start.double()
    for first, last, column in projector._pieces(offset, length):
        signs = projector.signs(offset, length, block.device)[first:last]
        exact[:, column : column + last - first] += block[:, first:last].double() * signs
    return {
        "changed": not torch.equal(plain, start),
        "same": torch.equal(plain, fused),
        "alone": torch.equal(alone, fused[:1]),
        "error": float((fused - exact).norm() / exact.norm()),
        "outside": float(around[:, :32].abs().sum() + around[:, -32:].abs().sum()),
    }

class Recorder:
    # takes the place of a kernel, and notes with how many programs and what it is started

    def __init__(self):
        self.programs, self.given = [], []

    def __getitem__(self, grid):
        self.programs.append(grid[0] * grid[1])
        return lambda *given, **options: self.given.append(given)

def parts_with_a_sum(proj_dim, length):
    import dtrak_stream.projectors.sketch_triton as kernels

    kernels._add_up = sums = Recorder()
    SketchProjector(proj_dim, 3).add_fused(torch.ones(1, length), 0, torch.zeros(1, proj_dim))
    return [bool(part.any()) for part in sums.given[0][0]]

def programs(proj_dim, length):
    import dtrak_stream.projectors.sketch_triton as kernels

    kernels._add_parts = parts = Recorder()
    kernels._add_up = sums = Recorder()
    SketchProjector(proj_dim, 3).add_fused(torch.zeros(1, length), 0, torch.zeros(1, proj_dim))
    return parts.programs + sums.programs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cases, large = json.loads(sys.argv[1])
    found = [outcome(*case) for case in cases], parts_with_a_sum(64, 5000), programs(*large)
    print(json.dumps(found))
"""
SHORT = [
    (64, 1, 0, 1),
    (64, 500, 0, 3),
    (64, 333, 77, 2),
    (192, 700, 1000, 1),
    (512, 300, 400, 2),
    (64, 32 * 64, 64, 2),
    (64, 300, 2**31 + 77, 1),  # of a model with more parameters than 32 bits count
]
LONG = [
    (64, 32 * 64, 65, 2),  # one row more than a part, for the sake of a single entry
    (64, 5000, 77, 3),
    (320, 30_000, 0, 2),
]
LARGE = (4096, 2_000_000)
MULTIPROCESSORS = 132  # of an H100


@pytest.fixture(scope="module")
def found():
    """All cases in one process: the interpreter must be asked for before Triton is imported."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, json.dumps([SHORT + LONG, LARGE])],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(SHORT)))
def test_the_kernel_gives_the_bits_of_the_torch_path(found, number):
    outcome = found[0][number]
    assert (outcome["changed"], outcome["same"]) == (True, True), SHORT[number]


@pytest.mark.parametrize("number", range(len(SHORT + LONG)))
def test_a_slice_in_parts_is_the_same_to_rounding_and_no_matter_with_how_many(found, number):
    outcome = found[0][number]
    assert outcome["changed"]
    assert outcome["error"] < 1e-6
    assert outcome["alone"]


@pytest.mark.parametrize("number", range(len(SHORT + LONG)))
def test_nothing_is_written_beside_the_features(found, number):
    assert found[0][number]["outside"] == 0


def test_programs_of_different_parts_add_to_different_places(found):
    """They run at the same time on a GPU, and one after the other in the interpreter."""
    assert found[1] == [True] * 3


def test_a_single_sample_of_a_large_model_keeps_all_of_a_gpu_busy(found):
    assert min(found[2]) >= 128
    assert max(found[2]) >= MULTIPROCESSORS
