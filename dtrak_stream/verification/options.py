"""What verifying is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VerifyConfig:
    """Read everything in a run folder and say whether it is whole and belongs together.

    Each store (all shards there, checksums, ledger of quarantined samples), each Gram matrix
    (belongs to a store, symmetric) and each scores file (made of these stores, samples, rankings,
    error bars, for every damping of a list) gets a line, and so does each fault: its name and what
    to do. What was made of a faulty store is left out. With any fault, the exit code is 2.
    """

    run: Path
    """Run folder of dtrak-stream attribute, or any folder that holds stores, Gram matrices and \
scores."""
    quiet: bool = False
    """Draw no progress bars."""


@dataclass(frozen=True)
class VerifyResult:
    """What was found to be whole.

    Attributes
    ----------
    path
        The run folder.
    checked
        Number of stores, Gram matrices and scores files.
    unfinished
        Files and folders that interrupted work has left, to be continued.
    quarantined
        Always 0: that is no fault, and was reported when it came about.
    """

    path: Path
    checked: int
    unfinished: int
    quarantined: int = 0
