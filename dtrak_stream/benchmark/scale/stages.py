"""What is measured: one stage, or the products it consists of, in a process of one core."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dtrak_stream.benchmark.own_process import answer_of
from dtrak_stream.benchmark.scale.synthetic import write_synthetic_store
from dtrak_stream.support.memory import peak_memory

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_ROWS = 4096


@dataclass(frozen=True)
class StageOptions:
    """What a process is told to measure.

    Attributes
    ----------
    stage
        A name in `STAGES`.
    folder
        Where the stores are, and the results go.
    samples, proj_dim, rows_per_shard
        The store.
    queries, top_k, memory_limit
        What is asked of it.
    """

    stage: str
    folder: str
    samples: int
    proj_dim: int
    rows_per_shard: int
    queries: int
    top_k: int
    memory_limit: str

    @property
    def train(self) -> Path:
        """Return the store of training features."""
        return Path(self.folder) / f"train-{self.samples}-{self.proj_dim}"

    @property
    def query(self) -> Path:
        """Return the store of queries."""
        return Path(self.folder) / f"query-{self.proj_dim}"

    @property
    def gram(self) -> Path:
        """Return the Gram matrix of the training features."""
        return self.train.with_suffix(".gram.h5")


@dataclass(frozen=True)
class StageCost:
    """What a stage cost.

    Attributes
    ----------
    seconds, cpu_seconds
        By the clock, and of the processor, without start and imports.
    ready_bytes, peak_bytes
        Memory of the process before, and at its peak.
    """

    seconds: float
    cpu_seconds: float
    ready_bytes: int
    peak_bytes: int


def cost_of(options: StageOptions) -> StageCost:
    """Measure a stage in a process of its own; raises `MeasuringFailedError`."""
    found = answer_of(
        __name__,
        asdict(options),
        where=f"{options.stage} of {options.samples:,} rows",
        remedy="free disk or memory, or measure smaller stores",
        environment=_ONE_THREAD,
    )
    return StageCost(**found)


def measure(options: StageOptions) -> StageCost:
    """Measure a stage in this process, which is brought down to one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.cpu_count = lambda: 1  # who shares work among cores looks there
    work = STAGES[options.stage](options)
    ready, start, cpu_start = peak_memory(), time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return StageCost(seconds, cpu_seconds, ready, peak_memory())


def _write_stores(options: StageOptions) -> Callable[[], object]:
    def write() -> None:
        train, queries = options.samples, options.queries
        for root, samples, seed in ((options.train, train, 0), (options.query, queries, 1)):
            write_synthetic_store(
                root,
                samples=samples,
                proj_dim=options.proj_dim,
                rows_per_shard=options.rows_per_shard,
                seed=seed,
            )

    return write


def _gram(options: StageOptions) -> Callable[[], object]:
    from dtrak_stream.gram.options import GramConfig, GramOptions
    from dtrak_stream.gram.run import compute_gram

    how = GramOptions(memory_limit=options.memory_limit, gram_form="primal")
    return lambda: compute_gram(GramConfig(options.train, options.gram, how, quiet=True))


def _damping(options: StageOptions) -> Callable[[], object]:
    from dtrak_stream.gram.file import Gram
    from dtrak_stream.kernel.damping import parse_dampings
    from dtrak_stream.scoring.kernel import KernelMaker
    from dtrak_stream.scoring.transforms import TRANSFORMS
    from dtrak_stream.store.reader import FeatureStore

    def choose() -> None:
        gram, store = Gram.open(options.gram), FeatureStore.open(options.train)
        maker = KernelMaker(gram, store, TRANSFORMS["none"], visible=False)
        maker.make(parse_dampings("auto").each, "cholesky")

    return choose


def _scores(options: StageOptions) -> Callable[[], object]:
    from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
    from dtrak_stream.scoring.run import score

    config = ScoreConfig(
        train=options.train,
        query=options.query,
        gram=options.gram,
        out=options.train.with_suffix(".scores.h5"),
        options=ScoreOptions(top_k=options.top_k, save_scores="no"),
        memory_limit=options.memory_limit,
        quiet=True,
    )
    return lambda: score(config)


def _gram_products(options: StageOptions) -> Callable[[], object]:
    block, out = _block(options), np.empty((options.proj_dim, options.proj_dim), np.float32)
    return lambda: [np.matmul(part.T, part, out=out) for part in _parts(options, block)]


def _score_products(options: StageOptions) -> Callable[[], object]:
    block, queries = _block(options), np.ones((options.queries, options.proj_dim), np.float32)
    out = np.empty((options.queries, len(block)), np.float32)
    return lambda: [
        np.matmul(queries, part.T, out=out[:, : len(part)]) for part in _parts(options, block)
    ]


def _block(options: StageOptions) -> np.ndarray:
    shape = (min(_ROWS, options.samples), options.proj_dim)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _parts(options: StageOptions, block: np.ndarray) -> list[np.ndarray]:
    """Return the block as often as it takes to come to all rows."""
    whole, rest = divmod(options.samples, len(block))
    return [block] * whole + ([block[:rest]] if rest else [])


def _plain_dask(options: StageOptions) -> Callable[[], object]:
    import dask
    import dask.array
    import h5py

    def multiply() -> None:
        with h5py.File(options.train / "features.h5") as file, dask.config.set(scheduler="sync"):
            chunks = min(4 * _ROWS, options.samples)
            stored = dask.array.from_array(file["features"], chunks=(chunks, options.proj_dim))
            scale = dask.array.from_array(file["scale"], chunks=chunks)
            features = stored.astype(np.float32) * scale[:, None]
            (features.T @ features).compute()

    return multiply


STAGES = {
    "writing": _write_stores,
    "Gram": _gram,
    "damping": _damping,
    "scores": _scores,
    "products of the Gram": _gram_products,
    "products of the scores": _score_products,
    "plain dask": _plain_dask,
}
"""What can be measured, by its name: each prepares what is then done."""


if __name__ == "__main__":
    print(json.dumps(asdict(measure(StageOptions(**json.loads(sys.argv[1]))))))
