"""Every option of the benchmark of crashes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.support.option_values import require_number, require_seed


@dataclass(frozen=True)
class CrashesConfig:
    """Kill featurizing, Gram matrix and scores at random moments, and see what is left.

    Random 8x8 images are featurized with the small model that comes along, multiplied and scored
    again and again, in a new folder each turn. Every stage is killed (SIGKILL) a few times at
    random moments of its work and then let finish; in a quarter of its starts, two processes share
    it, of which one or both are killed. What is finished before a kill must be left as it is, and
    all files must be in the end, byte for byte, those of a turn without kills. Ctrl-C ends it with
    the turns that are over by then.
    """

    kills: int = 200
    """How many processes are killed."""
    seed: int = 0
    """Decides when who is killed, as far as the machine lets it."""
    work: Path | None = None
    """Folder for all files, made if need be (default: the system's folder for
    temporary files)."""
    out: Path = Path("runs/bench/crashes")
    """Results: OUT.json and OUT.md."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_number("--kills", self.kills, 1)
        require_seed(self.seed)
