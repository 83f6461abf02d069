"""The benchmark of workers that share a Gram matrix: what it measures, and what it refuses."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest

from dtrak_stream.benchmark.cluster import run as cluster_module
from dtrak_stream.benchmark.cluster.options import ClusterBenchConfig
from dtrak_stream.benchmark.cluster.run import measure_cluster
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.gram.run import GramRun
from dtrak_stream.support.cluster import connect


def tiny(folder):
    return ClusterBenchConfig(rows=50, proj_dim=8, repeats=2, work=folder, out=folder / "out")


@pytest.fixture
def here(monkeypatch):
    """Let this process do the work; return how many workers were asked for, each time."""
    asked: list[int] = []

    @contextmanager
    def workers(count):
        asked.append(count)
        with connect() as cluster:
            yield cluster

    monkeypatch.setattr(cluster_module, "_workers", workers)
    return asked


def test_one_worker_and_several_take_turns_and_leave_nothing(tmp_path, here):
    page = measure_cluster(tiny(tmp_path)).path.read_text()
    assert here == [1, 2, 1, 2]
    assert "50 rows of k = 8" in page
    ways = json.loads((tmp_path / "out.json").read_text())["ways"]
    assert [(way["workers"], len(way["runs"])) for way in ways] == [(1, 2), (2, 2)]
    assert ways[0]["ratio"] == ways[0]["times_as_fast"] == 1
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out.json", "out.md", ".out.json.written", ".out.md.written"}


def test_bare_products_are_of_as_many_rows_shared_alike(tmp_path, here, monkeypatch):
    shares: list[tuple[int, int]] = []
    monkeypatch.setattr(cluster_module, "_multiply", lambda *share: shares.append(share))
    page = measure_cluster(tiny(tmp_path)).path.read_text()
    assert shares == [(50, 8), (25, 8), (50, 8), (25, 8)]
    ways = json.loads((tmp_path / "out.json").read_text())["ways"]
    assert "bare products" in page
    assert ways[0]["products_times_as_fast"] == 1
    assert ways[1]["products_times_as_fast"] > 0


@pytest.mark.parametrize("rows", [5, 8, 11])
def test_bare_products_are_of_all_rows(rows, monkeypatch):
    multiplied: list[int] = []
    monkeypatch.setattr(cluster_module, "_ROWS_AT_A_TIME", 4)

    def multiply(_left, right, *, out):
        assert out.shape == (3, 3)
        multiplied.append(len(right))

    monkeypatch.setattr(np, "matmul", multiply)
    cluster_module._multiply(rows, 3)
    assert sum(multiplied) == rows


def test_a_matrix_of_other_bytes_is_refused(tmp_path, here, monkeypatch):
    run = GramRun.run

    def other(self):
        run(self)
        if here[-1] == 2:
            with self.out.open("ab") as file:
                file.write(b"more")

    monkeypatch.setattr(GramRun, "run", other)
    with pytest.raises(InputError, match="the matrix of 2 workers is another"):
        measure_cluster(tiny(tmp_path))


@pytest.mark.parametrize(("flag", "value"), [("rows", 0), ("workers", 1), ("repeats", 0)])
def test_nothing_to_measure_is_refused(flag, value):
    with pytest.raises(ConfigurationError, match=f"--{flag} {value}"):
        ClusterBenchConfig(**{flag: value})
