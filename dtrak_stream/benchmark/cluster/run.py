"""The same Gram matrix again and again, by one worker and by several."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import xxhash

from dtrak_stream.benchmark.cluster.options import ClusterBenchConfig
from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    Run,
    machine,
    median_ratio,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.errors import InputError
from dtrak_stream.exchange.importing import import_features
from dtrak_stream.exchange.options import ArrayOptions, DeclaredFeatures, ImportConfig
from dtrak_stream.gram.plan import plan_on
from dtrak_stream.gram.products import sum_of_products
from dtrak_stream.gram.run import GramRun
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.cluster_options import ClusterOptions
from dtrak_stream.support.progress import say, untold
from dtrak_stream.support.shared_work import Cluster

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_MEMORY = 2**31
_BLOCK = 8192
_ROWS_AT_A_TIME = 4096
_HEADINGS = (
    *("workers", "start and imports, s", "Gram matrix, s", "of one worker", "times as fast"),
    *("bare products, s", "products: times as fast"),
)


def measure_cluster(config: ClusterBenchConfig) -> BenchmarkResult:
    """Measure what several workers gain; see `ClusterBenchConfig`.

    Raises
    ------
    InputError
        If the matrix of several workers is another than that of one.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    counts = (1, config.workers)
    runs: dict[int, list[Run]] = {count: [] for count in counts}
    with made_folder("cluster-", config.work) as folder:
        store = _store(config, folder)
        found: str | None = None
        for turn in range(config.repeats):
            for count in counts:
                out = folder / f"{turn}-{count}.h5"
                runs[count].append(_timed(config, store, out, count))
                matrix = xxhash.xxh3_128_hexdigest(out.read_bytes())
                out.unlink()
                found = found or matrix
                if matrix != found:
                    what = f"the matrix of {count} workers is another than the first one"
                    raise InputError(what, where="bench cluster", remedy="report it")
                say(f"{count} workers: {runs[count][-1]['seconds']:.2f} s")
    numbers: dict[str, Any] = {
        "benchmark": "cluster",
        "ways": [_numbers(count, runs[count], runs[1]) for count in counts],
    }
    page = _as_markdown(config, numbers["ways"])
    return write_results(config.out, config, measured_on, numbers, page)


def _store(config: ClusterBenchConfig, folder: Path) -> FeatureStore:
    """Import random features (N, k), whose columns are as unlike as those of gradients."""
    path, shape = folder / "features.npy", (config.rows, config.proj_dim)
    array = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    deviations = np.arange(1, config.proj_dim + 1, dtype=np.float32) ** -0.5
    for start in range(0, config.rows, _BLOCK):
        block = array[start : start + _BLOCK]
        normal = np.random.default_rng(start).standard_normal(block.shape, np.float32)
        block[:] = normal * deviations
    array.flush()
    features = DeclaredFeatures("random numbers", "simple", "none", "other", "1", "1x8x8")
    with untold():
        import_features(
            ImportConfig(
                ArrayOptions((path,)), folder / "store", features, dtype="float16", quiet=True
            )
        )
    path.unlink()
    return FeatureStore.open(folder / "store")


def _timed(config: ClusterBenchConfig, store: FeatureStore, out: Path, workers: int) -> Run:
    begin = time.perf_counter()
    with _workers(workers) as cluster:
        cluster.everywhere(_warm_up)
        ready = time.perf_counter()
        plan = plan_on(cluster, store, "primal", memory_limit=_MEMORY)
        with untold():
            GramRun(store, plan, cluster, out, visible=False).run()
        done = time.perf_counter()
        cluster.everywhere(_multiply, config.rows // workers, config.proj_dim)
        multiplied = time.perf_counter()
    return {
        "start_seconds": ready - begin,
        "seconds": done - ready,
        "products_seconds": multiplied - done,
    }


@contextmanager
def _workers(count: int) -> Iterator[Cluster]:
    with patch.dict(os.environ, _ONE_THREAD):
        options = ClusterOptions(devices=",".join(["cpu"] * count))
        with connect(options, sum_of_products) as cluster:
            yield cluster


def _warm_up() -> None:
    """Multiply once, which loads what products are computed by."""
    some = torch.ones(64, 64)
    some @ some


def _multiply(rows: int, proj_dim: int) -> None:
    """Compute the products of so many rows, of blocks that are in memory: the least there is."""
    block = np.ones((min(_ROWS_AT_A_TIME, rows), proj_dim), np.float32)
    out = np.empty((proj_dim, proj_dim), np.float32)
    for start in range(0, rows, _ROWS_AT_A_TIME):
        part = block[: rows - start]
        np.matmul(part.T, part, out=out)


def _numbers(count: int, runs: list[Run], of_one: list[Run]) -> dict[str, Any]:
    """Return medians of one way, and the median of its ratios to one worker within a turn."""
    return {
        "workers": count,
        "start_seconds": median(run["start_seconds"] for run in runs),
        "seconds": median(run["seconds"] for run in runs),
        "ratio": median_ratio(runs, of_one, itemgetter("seconds")),
        "times_as_fast": median_ratio(of_one, runs, itemgetter("seconds")),
        "products_seconds": median(run["products_seconds"] for run in runs),
        "products_times_as_fast": median_ratio(of_one, runs, itemgetter("products_seconds")),
        "runs": runs,
    }


def _as_markdown(config: ClusterBenchConfig, ways: list[dict[str, Any]]) -> str:
    rows = [
        [
            str(way["workers"]),
            f"{way['start_seconds']:.1f}",
            f"{way['seconds']:.2f}",
            f"{way['ratio']:.2f}",
            f"{way['times_as_fast']:.2f}",
            f"{way['products_seconds']:.2f}",
            f"{way['products_times_as_fast']:.2f}",
        ]
        for way in ways
    ]
    return "\n\n".join(
        (
            "# Workers that share a Gram matrix",
            f"{config.rows:,} rows of k = {config.proj_dim:,} in float16; workers of one thread on "
            f"this machine; {config.repeats} turns, medians. The files are the same to the byte. "
            "Bare products are those of as many rows, shared alike, of blocks in the memory of the "
            "workers, all at once: no more than this machine allows can be gained.",
            table(_HEADINGS, rows),
        )
    )
