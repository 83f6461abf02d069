"""Looking at many shards, most of which are laid out byte for byte alike.

HDF5 takes most of a millisecond to find out about a file: as long as it takes to multiply its rows
with 20 queries. All that it looks at lies outside the arrays; and of two shards of a run that hold
as many rows, these bytes differ in the checksum alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dtrak_stream.store.stored_shard import ArrayPlace, StoredShard, open_shard, telling_damage


class AlikeShards:
    """Looks at shards: by HDF5 only where one is unlike the one that was looked at so before."""

    def __init__(self) -> None:
        self._pattern: _Pattern | None = None

    def open(self, path: Path, fingerprint: str) -> StoredShard:
        """Look at a shard without reading its arrays; as `open_shard`, and to the same result."""
        pattern = self._pattern
        if pattern is not None and pattern.fingerprint == fingerprint:
            with telling_damage(path):
                alike = pattern.find_in(path)
            if alike is not None:
                return alike
        stored = open_shard(path, fingerprint)
        with telling_damage(path):
            self._pattern = _Pattern.of(stored, fingerprint)
        return stored


@dataclass(frozen=True)
class _Pattern:
    """What a shard that HDF5 has looked at holds outside its arrays.

    Attributes
    ----------
    stored, fingerprint
        The shard, and the run it belongs to.
    size
        Bytes of the file.
    outside
        Where in the file there are no arrays.
    before, behind
        What is there, up to the checksum of the shard and after it.
    """

    stored: StoredShard
    fingerprint: str
    size: int
    outside: tuple[range, ...]
    before: bytes
    behind: bytes

    @classmethod
    def of(cls, stored: StoredShard, fingerprint: str) -> _Pattern | None:
        """Return that of a shard; None if its checksum does not stand there once, and whole."""
        descriptor = os.open(stored.path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            outside = tuple(_between(stored.places.values(), size))
            parts = _read(descriptor, outside)
        finally:
            os.close(descriptor)
        before, *behind = b"".join(parts).split(stored.checksum.encode())
        if len(behind) != 1 or not any(stored.checksum.encode() in part for part in parts):
            return None
        return cls(stored, fingerprint, size, outside, before, behind[0])

    def find_in(self, path: Path) -> StoredShard | None:
        """Return the shard at `path` if it is laid out like this one, else None."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size != self.size:
                return None
            content = b"".join(_read(descriptor, self.outside))
        finally:
            os.close(descriptor)
        start, stop = len(self.before), len(content) - len(self.behind)
        if not (content.startswith(self.before) and content.endswith(self.behind)):
            return None
        return replace(self.stored, path=path, checksum=content[start:stop].decode())


def _between(places: Iterable[ArrayPlace], size: int) -> Iterator[range]:
    """Yield the parts of a file of `size` bytes that arrays leave."""
    at = 0
    for place in sorted(places, key=lambda place: place.offset):
        yield range(at, place.offset)
        at = place.offset + place.dtype.itemsize * math.prod(place.shape)
    yield range(at, size)


def _read(descriptor: int, parts: Sequence[range]) -> list[bytes]:
    return [os.pread(descriptor, len(part), part.start) for part in parts]
