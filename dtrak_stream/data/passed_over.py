"""What lies among images and is not taken for one: counted by its ending, and told in a line."""

from __future__ import annotations

import os
from collections import Counter

from dtrak_stream.data.sidecars import SIDECAR_SUFFIXES

_ENDINGS_KEPT = 64  # names such as image.00001 could be all of different endings
_ENDINGS_TOLD = 5
_OTHERS = "of other endings"


class PassedOver:
    """Counts files by the endings of their names, of which it keeps a few."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def note(self, name: str) -> None:
        """Count a file."""
        ending = os.path.splitext(name)[1]  # noqa: PTH122
        # .TXT tells why such a text is not read
        told = ending if ending.lower() in SIDECAR_SUFFIXES else ending.lower()
        self._add(told or "without an ending", 1)

    def add(self, others: PassedOver) -> None:
        """Count what another one has counted."""
        for ending, count in others._counts.items():
            self._add(ending, count)

    def lines(self) -> list[str]:
        """Return one line that says how many files of which endings, or none if there are none."""
        count = self._counts.total()
        if not count:
            return []
        files = "1 file is" if count == 1 else f"{count:,} files are"
        return [f"{files} passed over ({self._endings()}): rename or convert what is an image"]

    def _add(self, ending: str, count: int) -> None:
        known = ending in self._counts or len(self._counts) < _ENDINGS_KEPT
        self._counts[ending if known else _OTHERS] += count

    def _endings(self) -> str:
        named = [(-count, ending) for ending, count in self._counts.items() if ending != _OTHERS]
        told = sorted(named)[:_ENDINGS_TOLD]
        rest = self._counts.total() + sum(count for count, _ in told)
        each = [f"{-count:,} {ending}" for count, ending in told]
        return ", ".join(each + [f"{rest:,} {_OTHERS}"] * (rest > 0))
