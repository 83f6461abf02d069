"""What verifying is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dtrak_stream.errors import ConfigurationError

USUAL_ROWS = 8


def _number(words: Sequence[str]) -> int:
    return int(words[0]) if words else USUAL_ROWS


OPTIONAL_NUMBER = tyro.constructors.PrimitiveConstructorSpec(
    nargs=(0, 1),
    metavar="[N]",
    instance_from_str=_number,
    is_instance=lambda value: isinstance(value, int),
    str_from_instance=lambda value: [str(value)],
)
"""A flag that may stand alone, which means the usual number of rows."""


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
    deep: Annotated[int, OPTIONAL_NUMBER] = 0
    """Compute so many rows of each store again (--deep alone: 8), from the model and the images
    that its record names, and compare them: the first row, the last, and others spread between."""
    model: str | None = None
    """For --deep: where the model is now, if not where the stores' records say."""
    train: str | None = None
    """For --deep: source of the training images, if not what the record of the store train says."""
    query: str | None = None
    """For --deep: source of the images of all other stores, if not what their records say."""
    trajectory: Path | None = None
    """For --deep: folder of the queries' sampling paths, if not where the record says."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        if self.deep < 0:
            raise ConfigurationError(
                "is no number of rows", where=f"--deep {self.deep}", remedy="give 1 or more"
            )
        for name in ("model", "train", "query", "trajectory"):
            if not self.deep and getattr(self, name) is not None:
                raise ConfigurationError(
                    "only says where to find what rows are computed from",
                    where=f"--{name}",
                    remedy="give --deep as well, or leave it out",
                )


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
