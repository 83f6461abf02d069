"""Every option of an LDS computation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.options import LOSS_KEY

_RANGE = re.compile(r"(\d*):(\d*)")


@dataclass(frozen=True)
class LdsConfig:
    """Compare scores with what retraining did: the linear datamodeling score (LDS).

    The last line printed is the LDS x 100 of the first scores file with its standard error.
    """

    scores: tuple[Path, ...]
    """The scores.h5 to judge; several may follow each other."""
    truth: Path
    """Truth file (.npz) of dtrak-stream retrain-subsets."""
    loss_key: str = LOSS_KEY
    """Which set of queries: the key of its losses, which is any array (M, Q) of the truth file, or
    the name the set was given."""
    subsets: str = ":"
    """Judge by these subsets only, such as 32:64. Scores that were themselves fitted to subsets
    must be judged by others."""
    queries: Literal["all", "even", "odd"] = "all"
    """Judge by every second query only: choose on the even ones and report the odd ones."""
    resamples: int = 64
    """Resamples of the subsets, for the mean and standard deviation as D-TRAK reports them."""
    json: Path | None = None
    """Write every number to this file."""
    csv: Path | None = None
    """Write the value of each query to this file."""
    plot: Path | None = None
    """Draw the LDS against damping, number of timesteps and projection size to this PNG file."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        if self.resamples < 2:
            raise ConfigurationError(
                "is not supported", where=f"--resamples {self.resamples}", remedy="give 2 or more"
            )


def chosen_range(text: str, count: int, flag: str) -> slice:
    """Return the slice that `a:b` means among `count` subsets.

    Raises
    ------
    ConfigurationError
        If it is not of that form, or selects fewer than three.
    """
    match = _RANGE.fullmatch(text)
    start = int(match[1] or 0) if match else 0
    stop = min(int(match[2]), count) if match and match[2] else count
    if match is None or stop - start < 3:
        raise ConfigurationError(
            f"does not select three or more of {count} subsets",
            where=f"{flag} {text}",
            remedy="write a:b with whole numbers, such as 0:32 or 32:",
        )
    return slice(start, stop)
