"""Many names in little memory: one block of bytes, and where each of them ends."""

from __future__ import annotations

from array import array


class NameBlock:
    """Names in the order they were added; about 30 MB for a million of 25 letters."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode()

    def add(self, name: bytes) -> None:
        """Add a name, which is UTF-8."""
        self._bytes += name
        self._ends.append(len(self._bytes))
