"""What a plan says a step takes is no less than what it was measured to take."""

from __future__ import annotations

import tracemalloc

import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.gram.file import Gram
from dtrak_stream.kernel.damping import parse_dampings
from dtrak_stream.scoring.kernel import KernelMaker
from dtrak_stream.scoring.transforms import TRANSFORMS
from tests.scoring.conftest import attribution_of, whole_numbers


def test_a_factorisation_with_all_eigenvalues_stays_within_its_plan(tmp_path):
    size = 256
    run = attribution_of(tmp_path, whole_numbers(size, 320), whole_numbers(1, 320, 1), form="dual")
    maker = KernelMaker(Gram.open(run.gram), run.train, TRANSFORMS["none"], visible=False)
    damping = parse_dampings("0.1").each
    maker.make(damping, "cholesky")  # code that is loaded at the first call
    tracemalloc.start()
    try:
        maker.make(damping, "cholesky")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= plan_module._kernel_bytes(size, "cholesky")
