"""What is said of images that are used, but not all of what is in their files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from dtrak_stream.errors import first_few
from dtrak_stream.support.progress import say

Remark: TypeAlias = Literal["frames", "orientation"]
"""What was noticed of an image: it has several frames, or nobody can tell how it is turned."""

_NAMES_TOLD = 3
_said = set[str]()
_WORDS: dict[Remark, tuple[str, str, str]] = {
    "frames": ("has", "have", "several frames or pages; the first is taken"),
    "orientation": ("has", "have", "EXIF that cannot be read; it is not turned"),
}


def say_once(line: str) -> None:
    """Print a line, unless this process did: a source is opened by several stages."""
    if line not in _said:
        _said.add(line)
        say(line)


class Remarks:
    """Counts the images of one source of which something was noticed.

    Parameters
    ----------
    count
        Number of images; a byte is kept for each, once there is anything to count.
    name
        Returns the name of an image.
    """

    def __init__(self, count: int, name: Callable[[int], str]) -> None:
        self._count = count
        self._name = name
        self._noticed: dict[Remark, bytearray] = {}
        self._lock = threading.Lock()

    def note(self, remark: Remark, row: int) -> None:
        """Count image `row`, once; several threads call it at once."""
        with self._lock:
            self._noticed.setdefault(remark, bytearray(self._count))[row] = 1

    def about(self, row: int) -> Callable[[Remark], None]:
        """Return what notes a remark about image `row`."""
        return lambda remark: self.note(remark, row)

    def lines(self) -> list[str]:
        """Return a line for each thing noticed: how many images, and the names of the first."""
        return [self._line(remark, rows) for remark, rows in sorted(self._noticed.items())]

    def _line(self, remark: Remark, noticed: bytearray) -> str:
        count, names, row = sum(noticed), list[str](), -1
        while len(names) < min(count, _NAMES_TOLD):
            row = noticed.index(1, row + 1)
            names.append(self._name(row))
        one, several, what = _WORDS[remark]
        images = f"1 image {one}" if count == 1 else f"{count:,} images {several}"
        return f"{images} {what} ({first_few(names, count=count)})"
