"""Progress bars (rate and time left on anything long) and the lines a run prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

_tells = ContextVar("_tells", default=True)


def progress(
    total: int, *, description: str, unit: str, done: int = 0, visible: bool = True
) -> tqdm[Any]:
    """Return a progress bar on standard error with rate, count and time left.

    Parameters
    ----------
    total, done
        Number of units in all, and how many of them an earlier run already finished.
    description, unit
        What is counted, for the reader.
    visible
        False for library use: nothing is drawn.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=unit,
        disable=not visible,
        delay=1.0,  # what is over within a second needs no bar
        dynamic_ncols=True,
        smoothing=0.1,
        file=sys.stderr,
    )


def say(line: str) -> None:
    """Print one line of the run's story on standard error, clear of any progress bar."""
    if _tells.get():
        tqdm.write(line, file=sys.stderr)


@contextmanager
def untold() -> Iterator[None]:
    """Let `say` print nothing inside: for many small runs that a bar counts."""
    before = _tells.set(False)
    try:
        yield
    finally:
        _tells.reset(before)
