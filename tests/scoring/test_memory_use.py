"""Peak memory of Gram matrix and scores: under the limit, however large the store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.support import durable
from dtrak_stream.support.memory import format_size
from tests.conftest import store_of
from tests.scoring.peak_memory import STATUS

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="needs Linux to tell peak memory")

MIB = 2**20
LIMIT = 10 * MIB
ROWS, PROJ_DIM, ROWS_PER_SHARD = 60_000, 256, 1024
A_WORKER = 4 * MIB
"""What a worker adds: on a machine that is busy, two may never have been at work at once."""
SLACK = (4 * 2 * PROJ_DIM * ROWS_PER_SHARD) + 3 * MIB
"""What the limit, which is for arrays, leaves out: one mapped float16 shard for each of the at
most four workers that fit in it, and HDF5, Dask and code that was not loaded before."""


def write_store(folder, samples):
    features = np.random.default_rng(0).standard_normal((samples, PROJ_DIM), np.float32)
    store_of(folder, features, dtype="float16", rows_per_shard=ROWS_PER_SHARD)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Bytes by which memory rose at its peak: for one store, and for one twice as large."""
    folder = tmp_path_factory.mktemp("memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "_fsync", lambda _: None)
        sizes = {"query": 64, "warm-up": 8, "once": ROWS, "twice": 2 * ROWS}
        for name, samples in sizes.items():
            write_store(folder / name, samples)
    command = [sys.executable, "-m", "tests.scoring.peak_memory", str(folder), str(LIMIT)]
    answer = subprocess.run(
        [*command, "once", "twice"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # waiting threads spin: slow when shared
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(answer.stdout)


@pytest.mark.parametrize("stage", ["gram", "score"])
def test_memory_stays_under_the_limit_while_the_features_are_larger(grown, stage):
    assert 2 * PROJ_DIM * ROWS > 2.5 * LIMIT
    for sizes in grown:
        assert sizes[stage] < LIMIT + SLACK, format_size(sizes[stage])


@pytest.mark.parametrize("stage", ["gram", "score"])
def test_memory_does_not_grow_with_the_number_of_samples(grown, stage):
    once, twice = (sizes[stage] for sizes in grown)
    assert 2 * PROJ_DIM * ROWS > 7 * A_WORKER
    assert twice - once < A_WORKER, f"{format_size(once)}, {format_size(twice)}"
