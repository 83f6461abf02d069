"""Every option of the benchmark of listing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.support.option_values import require_number

Layout = Literal["flat", "folders"]


@dataclass(frozen=True)
class ListingConfig:
    """Measure listing and naturally ordering a folder of very many image names.

    Empty files are made below --work, listed as a folder of images is before any of them is opened,
    each layout in a process of its own, and removed again.
    """

    names: int = 1_000_000
    """Number of files."""
    layouts: tuple[Layout, ...] = ("flat", "folders")
    """flat: all in one folder; folders: in subfolders of --per-folder each."""
    per_folder: int = 10_000
    """Files in a subfolder."""
    repeats: int = 3
    """Times each folder is listed; the median is reported."""
    work: Path | None = None
    """Folder for the files, made if need be (default: the system's folder for
    temporary files)."""
    out: Path = Path("runs/bench/listing")
    """Results: OUT.json and OUT.md."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--names", self.names),
            ("--per-folder", self.per_folder),
            ("--repeats", self.repeats),
        ):
            require_number(flag, value, 1)
