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
from dtrak_stream.projectors import SketchProjector

def outcome(proj_dim, length, offset, rows):
    projector = SketchProjector(proj_dim, 3)
    block = torch.randn(rows, length, generator=torch.Generator().manual_seed(0))
    start = torch.randn(rows, proj_dim, generator=torch.Generator().manual_seed(1))
    plain, fused = start.clone(), start.clone()
    projector.add(block.clone(), offset, plain)
    projector.add_fused(block, offset, fused)
    if torch.equal(plain, start):
        return "nothing was added"
    return "same" if torch.equal(plain, fused) else str((plain - fused).abs().max())

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    print(json.dumps([outcome(*case) for case in json.loads(sys.argv[1])]))
"""
CASES = [
    (64, 1, 0, 1),
    (64, 500, 0, 3),
    (64, 333, 77, 2),
    (192, 700, 1000, 1),
    (512, 300, 400, 2),
]


@pytest.fixture(scope="module")
def outcomes():
    """All cases in one process: the interpreter must be asked for before Triton is imported."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, json.dumps(CASES)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_kernel_gives_the_bits_of_the_torch_path(outcomes, number):
    assert outcomes[number] == "same", CASES[number]
