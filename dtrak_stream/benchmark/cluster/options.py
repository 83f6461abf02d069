"""Every option of the benchmark of workers that share a Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class ClusterBenchConfig:
    """Measure how long one worker of one thread takes for a Gram matrix, and how long several do.

    Workers are processes of this machine, started and warm before the clock is. One worker and
    several take turns; their files must be the same to the byte.
    """

    rows: int = 1_000_000
    """N, rows of the store: random numbers, imported as those of another program."""
    proj_dim: int = 1024
    """Length k of a feature."""
    workers: int = 2
    """Workers that share the matrix, one thread each."""
    repeats: int = 5
    """Times each way is measured, in turns; medians are reported."""
    work: Path | None = None
    """Folder for the store and its matrices, made if need be (default: the system's folder for
    temporary files)."""
    out: Path = Path("runs/bench/cluster")
    """Results: OUT.json and OUT.md."""

    def __post_init__(self) -> None:
        require_number("--proj-dim", self.proj_dim, 1, 2**16)
        for flag, value, least in (
            ("--rows", self.rows, 1),
            ("--workers", self.workers, 2),
            ("--repeats", self.repeats, 1),
        ):
            require_number(flag, value, least)
