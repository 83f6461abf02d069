"""The steps that are measured, each in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.benchmark.scale.synthetic import synthetic_fingerprint
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.store.changing import appended
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.memory import peak_memory

ROWS_PER_SHARD = 4096


@dataclass
class Stopwatch:
    """Adds up time: by the clock, and of the processor, which other work does not lengthen."""

    seconds: float = 0.0
    processor: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that passes inside."""
        clock, processor = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - clock
        self.processor += time.process_time() - processor


def write(store: Path, rows: int, dim: int) -> Stopwatch:
    """Write a store of so many random rows."""
    return _fill(StoreLayout(store, _fingerprint(rows, dim)))


def append(store: Path, rows: int) -> Stopwatch:
    """Append so many rows to a store."""
    layout = read_layout(store)
    total = layout.fingerprint.samples + rows
    return _fill(appended(layout, f"{total} random rows", total))


def take_out(store: Path, listed: Path) -> Stopwatch:
    """Remove the rows that a file lists."""
    return _timed(lambda: remove(RemoveConfig((store,), rows=listed)))


def gram(store: Path, out: Path) -> Stopwatch:
    """Compute a Gram matrix, or bring it up to date."""
    options = GramOptions(gram_form="primal")
    return _timed(lambda: compute_gram(GramConfig(store, out, options, quiet=True)))


def scores(store: Path, query: Path, of: Path, out: Path) -> Stopwatch:
    """Score."""
    options = ScoreOptions(method="d-trak", top_k=100, save_scores="no")
    return _timed(lambda: score(ScoreConfig(store, query, of, out, options, quiet=True)))


def _fill(layout: StoreLayout) -> Stopwatch:
    """Write the missing shards of a store; making numbers for them does not count."""
    watch, stores = Stopwatch(), StoreSet(layout.root, (layout,))
    with StoreWriter(stores, redo_corrupt=False, visible=False, bad_row="NaN") as writer:
        with watch.running():
            # as after featurizing, whose shards are trusted while they are as it left them
            missing = writer.take_up(lambda _: True)
            writer.begin()
        for shard in missing:
            rows = _random_rows(layout, shard)
            with watch.running():
                list(writer.claim_free([shard]))
                writer.write(rows)
        with watch.running():
            writer.settle()
    return watch


def _random_rows(layout: StoreLayout, shard: int) -> ComputedRows:
    held, dim = layout.shard_rows(shard), layout.fingerprint.proj_dim
    features = np.random.default_rng(shard).standard_normal((len(held), dim), np.float32)
    features *= np.linspace(1, 0.1, dim, dtype=np.float32)  # a spectrum that is not flat
    return ComputedRows(shard, features, [f"{row:08d}" for row in held])


def _fingerprint(rows: int, dim: int) -> Fingerprint:
    return synthetic_fingerprint(
        f"{rows} random rows", samples=rows, proj_dim=dim, rows_per_shard=ROWS_PER_SHARD
    )


def _timed(work: Callable[[], object]) -> Stopwatch:
    watch = Stopwatch()
    with watch.running():
        work()
    return watch


STEPS: dict[str, Callable[..., Stopwatch]] = {
    each.__name__: each for each in (write, append, take_out, gram, scores)
}


def main(told: dict[str, Any]) -> None:
    """Take a step and print what it took, as JSON."""
    given = {name: Path(value) if isinstance(value, str) else value for name, value in told.items()}
    watch = STEPS[str(given.pop("step"))](**given)
    print(json.dumps({**asdict(watch), "peak_bytes": peak_memory()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
