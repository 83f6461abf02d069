"""How a stage is shown on standard error: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from tqdm import tqdm

_FIRST_LINE = 5.0  # seconds; what is over before is not shown in a file
_BETWEEN_LINES = 30.0  # seconds
_BEFORE_BAR = 1.0  # seconds; what is over before needs no bar


class Shown(Protocol):
    """What is counted, as a display needs to know it."""

    total: int
    description: str
    unit: str

    @property
    def n(self) -> int:
        """Return the number of units done."""

    def standing(self) -> object:
        """Return how far it is; as text, it is for a reader."""


class Display(Protocol):
    """A place where one stage is shown."""

    def moved(self, done: int) -> None:
        """Show the count, if it is time to."""

    def noted(self, note: str, refresh: bool) -> None:
        """Take what else there is to say; show it at once with `refresh`."""

    def shown(self) -> None:
        """Show the count now."""

    def closed(self) -> None:
        """End, as the stage does."""


def display(stage: Shown) -> Display:
    """Return how this stage is shown where standard error leads to."""
    return TerminalBar(stage) if sys.stderr.isatty() else FileLines(stage)


class TerminalBar:
    """A bar that is drawn over itself."""

    def __init__(self, stage: Shown) -> None:
        self._bar: tqdm[Any] = tqdm(
            total=stage.total,
            initial=stage.n,
            desc=stage.description,
            unit=stage.unit,
            delay=_BEFORE_BAR,
            dynamic_ncols=True,
            smoothing=0.1,
            file=sys.stderr,
        )

    def moved(self, done: int) -> None:
        """Draw the count where enough happened since the last time."""
        self._bar.update(done - self._bar.n)

    def noted(self, note: str, refresh: bool) -> None:
        """Set what stands behind the bar."""
        self._bar.set_postfix_str(note, refresh=refresh)

    def shown(self) -> None:
        """Draw it now."""
        self._bar.refresh()

    def closed(self) -> None:
        """Leave the bar as it is last."""
        self._bar.close()


class FileLines:
    """A line after some seconds, one every half minute, and a last one."""

    def __init__(self, stage: Shown) -> None:
        self._stage = stage
        self._next = time.monotonic() + _FIRST_LINE
        self._last: int | None = None

    def moved(self, _done: int) -> None:
        """Print a line if the last one is long past."""
        if time.monotonic() >= self._next:
            self.shown()

    def noted(self, note: str, refresh: bool) -> None:
        """Print nothing: the next line tells it."""

    def shown(self) -> None:
        """Print a line."""
        self._last = self._stage.n
        self._next = time.monotonic() + _BETWEEN_LINES
        print(self._stage.standing(), file=sys.stderr, flush=True)

    def closed(self) -> None:
        """Print how it ended, if there was a line before."""
        if self._last is not None and self._last != self._stage.n:
            self.shown()
