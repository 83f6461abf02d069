"""Every option of the benchmark of changing stores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class AppendBenchConfig:
    """Measure what appending to a store, and removing from it, costs beside making all anew.

    A store of random features is written, its Gram matrix and scores are computed; rows are
    appended and removed, and all of it is brought up to date; at last the same is computed from
    nothing, and compared. Each step is a process of its own.
    """

    rows: int = 1_000_000
    """N, the number of rows at first."""
    dim: int = 1024
    """k, the length of a feature, stored in float16."""
    share: float = 0.01
    """Rows appended, and rows removed at random, as a share of N."""
    queries: int = 100
    """Q, the number of queries that are scored."""
    work: Path | None = None
    """Folder for the stores, made if need be (default: the system's folder for
    temporary files)."""
    out: Path = Path("runs/bench/append")
    """Results: OUT.json and OUT.md."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--rows", self.rows),
            ("--dim", self.dim),
            ("--queries", self.queries),
        ):
            require_number(flag, value, 1)
        if not 0 < self.share < 1:
            raise ConfigurationError(
                f"{self.share} is no share of the rows",
                where="--share",
                remedy="give a number between 0 and 1, such as 0.01",
            )

    @property
    def changed(self) -> int:
        """Return how many rows are appended, and how many are removed."""
        return max(1, round(self.share * self.rows))
