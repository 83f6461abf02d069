"""What was done to a store after it was begun: images appended, rows removed, in `history.jsonl`.

A line is one change, and is the moment at which it is done: a store is what its first plan and
these lines say. Each line holds the hash of the one before and its own, so that none can be
altered, left out or exchanged without being noticed; `store.json` keeps how many there were when
it was written, and the last hash. A line without its end was torn by a crash: it never happened.
A store to which nothing was done has no such file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import xxhash

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.store.row_set import NO_ROWS, RowSet
from dtrak_stream.support.durable import append_bytes, write_bytes

HISTORY_NAME = "history.jsonl"
_RESTORE = "put back what was there, or featurize into another --store"


@dataclass(frozen=True)
class Change:
    """One change of a store.

    Attributes
    ----------
    change
        `begun` is the first entry: what there was before the first change.
    images, samples
        Hash of the images, and their number, from then on.
    rows
        The rows that a removal removed, as `RowSet.text`.
    time
        When, in UTC.
    """

    change: Literal["begun", "appended", "removed"]
    images: str
    samples: int
    rows: str = ""
    time: str = ""

    @classmethod
    def now(
        cls,
        change: Literal["begun", "appended", "removed"],
        images: str,
        samples: int,
        rows: RowSet = NO_ROWS,
    ) -> Change:
        """Return a change that is made now."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(change, images, samples, rows.text(), time)

    @cached_property
    def removed(self) -> RowSet:
        """Return the rows that it removed."""
        return RowSet.of_text(self.rows, self.samples)


@dataclass(frozen=True)
class Segment:
    """Rows that were added at one time.

    Attributes
    ----------
    rows
        Which rows of the store.
    images, samples
        Hash of all images there were then, and their number.
    """

    rows: range
    images: str
    samples: int


@dataclass(frozen=True)
class History:
    """The changes of a store in their order; none where nothing was done to it.

    Attributes
    ----------
    changes
        All of them; the first one is `begun`.
    hashes
        The hash of each line.
    """

    changes: tuple[Change, ...] = ()
    hashes: tuple[str, ...] = ()

    def with_change(self, change: Change) -> History:
        """Return the history that goes on with a change."""
        digest = _hash_of(self._before, change)
        return History((*self.changes, change), (*self.hashes, digest))

    def until(self, count: int) -> History:
        """Return the first so many changes."""
        return History(self.changes[:count], self.hashes[:count])

    @property
    def head(self) -> dict[str, Any]:
        """Return what `store.json` keeps of it: the number of changes, and the last hash."""
        return {"entries": len(self.changes), "hash": self._before}

    @cached_property
    def removed(self) -> RowSet:
        """Return all rows that were removed."""
        together = NO_ROWS
        for change in self.changes:
            together = together | change.removed
        return together

    def segments(self) -> Iterator[Segment]:
        """Yield the rows that were added at each time, in order; none without changes."""
        stop = 0
        for change in self.changes:
            if change.change != "removed":
                yield Segment(range(stop, change.samples), change.images, change.samples)
                stop = change.samples

    def lines(self, first: int) -> bytes:
        """Return the lines of the changes from number `first` on."""
        before = ("", *self.hashes[:-1])
        entries = zip(before[first:], self.changes[first:], self.hashes[first:], strict=True)
        return b"".join(_line(*entry) for entry in entries)

    @property
    def _before(self) -> str:
        return self.hashes[-1] if self.hashes else ""


def read_history(path: Path) -> History:
    """Return the history that is kept in a file; an empty one if there is no file.

    Raises
    ------
    CorruptFileError
        If a line was altered, left out or exchanged, or tells what cannot be.
    """
    history = History()
    for number, line in enumerate(_whole_lines(path), start=1):
        change = _change_of(line)
        if change is not None and _follows(history, change):
            longer = history.with_change(change)
            if line == longer.lines(number - 1).rstrip(b"\n"):
                history = longer
                continue
        raise CorruptFileError(
            f"line {number} is not what was written after the one before",
            where=path,
            remedy=_RESTORE,
        )
    return history


def write_history(path: Path, before: History, after: History) -> None:
    """Bring a file from one history to a longer one, durably: all of it is there, or nothing.

    Raises
    ------
    DiskFullError
        If there is no room.
    """
    added = after.lines(len(before.changes))
    if path.exists() and path.read_bytes() != before.lines(0):  # a line torn by a crash
        write_bytes(path, before.lines(0) + added)
    else:
        append_bytes(path, added)


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return whole.split(b"\n") if whole else []


def _change_of(line: bytes) -> Change | None:
    try:
        entry = json.loads(line)
        change = Change(**{name: value for name, value in entry.items() if name not in _CHAIN})
        texts = (change.change, change.images, change.rows, change.time)
        if not all(isinstance(text, str) for text in texts) or type(change.samples) is not int:
            return None
        _ = change.removed
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return change


def _follows(history: History, change: Change) -> bool:
    """Return whether a change can come after those of a history."""
    if not history.changes:
        return change.change == "begun" and change.samples > 0
    before = history.changes[-1]
    if change.change == "appended":
        return change.samples > before.samples
    same = (change.images, change.samples) == (before.images, before.samples)
    return change.change == "removed" and same and len(change.removed) > 0


_CHAIN = ("before", "hash")


def _line(before: str, change: Change, digest: str) -> bytes:
    entry = {**_fields(change), "before": before, "hash": digest}
    return json.dumps(entry, sort_keys=True).encode() + b"\n"


def _hash_of(before: str, change: Change) -> str:
    text = json.dumps({**_fields(change), "before": before}, sort_keys=True)
    return xxhash.xxh3_128_hexdigest(text.encode())


def _fields(change: Change) -> dict[str, Any]:
    return {name: value for name, value in asdict(change).items() if value != ""}
