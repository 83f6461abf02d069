"""Every option of the benchmark of size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.support.memory import parse_size
from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class ScaleConfig:
    """Measure Gram matrix, damping and scores of stores of growing size, on one thread.

    Synthetic float16 features are written as stores by the writer that all commands use. Each
    stage is a process of its own on one core, beside the bare products it consists of, on blocks
    in memory, and plain dask.array on the same store.
    """

    samples: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Rows of each store, ascending; a million of 1,024 numbers take 2 GB of disk."""
    proj_dim: int = 1024
    """Length k of a feature."""
    queries: int = 100
    """Queries that are scored against each store."""
    top_k: int = 100
    """Length of their lists; all scores are not kept."""
    rows_per_shard: int = 1024
    """Rows of a shard."""
    wide: tuple[int, ...] = ()
    """Also the Gram matrix of features so long, such as 16384 32768, as far as it is planned."""
    wide_samples: int = 20_000
    """Rows of those stores."""
    memory_limit: str = "4GiB"
    """Memory for arrays of each stage."""
    dask: bool = True
    """Measure plain dask.array too."""
    work: Path | None = None
    """Folder for stores and results, made if need be (default: the system's folder for
    temporary files)."""
    out: Path = Path("runs/bench/scale")
    """Results: OUT.json and OUT.md."""

    def __post_init__(self) -> None:
        parse_size(self.memory_limit, flag="--memory-limit")
        for flag, value in (
            ("--samples", min(self.samples, default=0)),
            ("--queries", self.queries),
            ("--top-k", self.top_k),
            ("--rows-per-shard", self.rows_per_shard),
            ("--wide-samples", self.wide_samples),
        ):
            require_number(flag, value, 1)
        require_number("--proj-dim", self.proj_dim, 2, 2**16)
        for value in self.wide:
            require_number("--wide", value, 2, 2**16)
