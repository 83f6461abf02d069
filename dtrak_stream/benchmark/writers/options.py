"""Every option of the benchmark of several writers of one store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class WritersConfig:
    """Measure how long the same command takes to fill a store alone, and started twice at once.

    Random 8x8 images are featurized with the small model that comes along, each process on one
    thread. One process and several take turns, each time with a new store, which is compared with
    the first one and removed.
    """

    images: int = 30_000
    """Images to featurize; one process should be busy for half a minute."""
    timesteps: str = "1"
    """Timesteps of the features."""
    proj_dim: int = 1024
    """Length k of a feature."""
    rows_per_shard: int = 512
    """Rows of a shard, the piece of work that a process takes at a time."""
    writers: int = 2
    """Processes that share a store."""
    repeats: int = 3
    """Times each way is measured, in turns; medians are reported."""
    work: Path | None = None
    """Folder for images and stores, made if need be (default: the system's folder for
    temporary files)."""
    out: Path = Path("runs/bench/writers")
    """Results: OUT.json and OUT.md."""

    def __post_init__(self) -> None:
        require_number("--proj-dim", self.proj_dim, 1, 2**16)
        require_number("--rows-per-shard", self.rows_per_shard, 1, 2**31)
        for flag, value, least in (
            ("--images", self.images, 1),
            ("--writers", self.writers, 2),
            ("--repeats", self.repeats, 1),
        ):
            require_number(flag, value, least)
