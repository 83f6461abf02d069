"""Every option of the benchmark of runs that are started again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.support.option_values import require_number

SourceKind = Literal["folder", "array"]


@dataclass(frozen=True)
class RerunConfig:
    """Measure what it costs to run the main job again when it is finished.

    Random 8x8 images are made, as a folder of PNG files and as one array file, and the main job
    runs on each to its end. Then the same command is run again, in turns with a process that only
    imports what the command imports. The difference is what a finished run still costs.
    """

    images: int = 60_000
    """Training images."""
    sources: tuple[SourceKind, ...] = ("folder", "array")
    """folder: a PNG file for each image; array: one file for all."""
    method: str = "d-trak"
    """Attribution method."""
    timesteps: str = "1"
    """Timesteps of the features, few so that the first run is short: they do not matter after."""
    proj_dim: int = 256
    """Length k of a feature."""
    repeats: int = 5
    """Times the finished run is started again; medians are reported."""
    work: Path | None = None
    """Folder for images and runs, kept and used again (default: a temporary one, removed)."""
    out: Path = Path("runs/bench/rerun")
    """Results: OUT.json and OUT.md."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_number("--proj-dim", self.proj_dim, 1, 2**16)
        for flag, value in (("--images", self.images), ("--repeats", self.repeats)):
            require_number(flag, value, 1)
