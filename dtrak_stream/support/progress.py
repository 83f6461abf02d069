"""What a run tells of itself: how far each stage is, with rate and time left, and single lines.

Standard error gets all of it but the bars that were asked to be invisible. Whoever listens besides
(`heard_by`) hears of invisible bars as well.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from tqdm import tqdm

from dtrak_stream.support.pace import Pace, clock, rate_in_words
from dtrak_stream.support.progress_display import Display, display

_BETWEEN_TELLINGS = 0.2  # seconds

_tells = ContextVar("_tells", default=True)


@dataclass(frozen=True)
class Standing:
    """How far a stage is.

    Attributes
    ----------
    stage, unit
        What is done, and what of it is counted.
    done, total
        Units done, and to be done in all.
    per_second
        Units a second over the last minute; None where there is none yet.
    note
        What else there is to say.
    """

    stage: str
    unit: str
    done: int
    total: int
    per_second: float | None
    note: str

    @property
    def seconds_left(self) -> float | None:
        """Return the time that is left at this rate; None where nobody knows."""
        left = max(0, self.total - self.done)
        return left / self.per_second if self.per_second else None

    def __str__(self) -> str:
        told = f"{self.stage}: {self.done:,}/{self.total:,} {self.unit}"
        if self.per_second:
            told += f", {rate_in_words(self.per_second, self.unit)}"
        if self.seconds_left is not None and math.isfinite(self.seconds_left):
            told += f", {clock(self.seconds_left)} left"
        return told + (f" ({self.note})" if self.note else "")


class Listener(Protocol):
    """Somebody who hears what a run tells."""

    def advanced(self, stages: Sequence[Bar]) -> None:
        """Hear that the last of these stages, each within the one before, went on."""

    def said(self, line: str) -> None:
        """Hear a line."""


_listeners: list[Listener] = []
_open: list[Bar] = []


class Bar:
    """The count of a stage; a context that ends with it.

    Parameters
    ----------
    total, done
        Number of units in all, and how many of them an earlier run already finished.
    description, unit
        What is counted, for the reader.
    visible
        Whether standard error shows it.

    Attributes
    ----------
    is_closing
        Whether what is told of it is the last of it.
    """

    def __init__(self, total: int, done: int, description: str, unit: str, visible: bool) -> None:
        self.total, self.description, self.unit = total, description, unit
        self._done, self._note, self._pace = done, "", Pace(done)
        self._display: Display | None = display(self) if visible else None
        self._told = -math.inf
        self.is_closing = False
        if _tells.get():
            _open.append(self)
            self._tell()

    @property
    def n(self) -> int:
        """Return the number of units done."""
        return self._done

    @n.setter
    def n(self, done: int) -> None:
        self._done = done
        self._went_on()

    def update(self, more: int = 1) -> None:
        """Count further units."""
        self._done += more
        self._went_on()

    def set_postfix_str(self, note: str, refresh: bool = True) -> None:
        """Say what else there is to say of the stage, at once or with the next units."""
        self._note = note
        if self._display is not None:
            self._display.noted(note, refresh)

    def refresh(self) -> None:
        """Show and tell at once how far the stage is."""
        if self._display is not None:
            self._display.shown()
        self._tell()

    def standing(self) -> Standing:
        """Return how far the stage is."""
        rate = self._pace.per_second(self._done)
        return Standing(self.description, self.unit, self._done, self.total, rate, self._note)

    def close(self) -> None:
        """End the stage."""
        if self._display is not None:
            self._display.closed()
            self._display = None
        if self in _open:
            self.is_closing = True
            self._tell()
            _open.remove(self)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _went_on(self) -> None:
        self._pace.note(self._done)
        if self._display is not None:
            self._display.moved(self._done)
        if time.monotonic() - self._told >= _BETWEEN_TELLINGS:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        if self in _open:
            for listener in tuple(_listeners):
                listener.advanced(_open[: _open.index(self) + 1])


def progress(
    total: int, *, description: str, unit: str, done: int = 0, visible: bool = True
) -> Bar:
    """Return a progress bar on standard error with rate, count and time left.

    Where standard error is no terminal, it is a line now and then.

    Parameters
    ----------
    total, done
        Number of units in all, and how many of them an earlier run already finished.
    description, unit
        What is counted, for the reader.
    visible
        False for library use: nothing is drawn.
    """
    return Bar(total, done, description, unit, visible)


def say(line: str) -> None:
    """Print one line of the run's story on standard error, clear of any progress bar."""
    if _tells.get():
        tqdm.write(line, file=sys.stderr)
        for listener in tuple(_listeners):
            listener.said(line)


@contextmanager
def untold() -> Iterator[None]:
    """Let `say` print nothing inside, and nobody hear: for many small runs that a bar counts."""
    before = _tells.set(False)
    try:
        yield
    finally:
        _tells.reset(before)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let somebody hear all that is told inside."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
