"""How fast something goes, by its last minute, and the words for it."""

from __future__ import annotations

import time
from collections import deque

_WINDOW = 60.0  # seconds
_BETWEEN_MARKS = 1.0  # seconds


class Pace:
    """Units a second of what is counted, over the last minute.

    Parameters
    ----------
    done
        Where the count begins.
    """

    def __init__(self, done: float) -> None:
        self._marks = deque([(time.monotonic(), done)])

    def note(self, done: float) -> None:
        """Remember how many units are done by now."""
        now = time.monotonic()
        if now - self._marks[-1][0] >= _BETWEEN_MARKS:
            self._marks.append((now, done))
        while len(self._marks) > 1 and now - self._marks[1][0] >= _WINDOW:
            self._marks.popleft()

    def per_second(self, done: float) -> float | None:
        """Return the units done a second; None before anything was done."""
        began, before = self._marks[0]
        seconds = time.monotonic() - began
        return (done - before) / seconds if seconds > 0 and done > before else None


def rate_in_words(per_second: float, unit: str) -> str:
    """Return a rate: `12.5 img/s`, or of what is slower than one a second `3.2 s/img`."""
    if per_second >= 1:
        return f"{per_second:,.1f} {unit}/s"
    return f"{1 / per_second:,.1f} s/{unit}"


def clock(seconds: float) -> str:
    """Return a time as a clock shows it: `4:05`, `2:04:05`, or from two days on `3 d 04 h`."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24:02d} h"
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
