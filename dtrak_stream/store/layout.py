"""Where things are in a store, and its plan, `store.json`."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.history import HISTORY_NAME, History, read_history
from dtrak_stream.store.row_set import RowSet
from dtrak_stream.support.durable import write_json

FORMAT_VERSION = 1
LIVING_FORMAT_VERSION = 2
"""The format of a store that was appended to or removed from: it has a history beside its plan."""
IMAGES_ALONE = "images"
PICTURES = "pictures"
CLASS_NAMES = "class names"
"""What a run record tells of the samples: the hash of their images, and what labels stand for."""

JOINED_VIEW = "features.h5"
"""Name of the virtual array over all shards of a store: there once the store is complete."""


@dataclass(frozen=True)
class ShardSegment:
    """Shards that were begun at one time.

    Attributes
    ----------
    rows
        Which rows of the store they hold.
    first
        The number of the first of them.
    fingerprint
        Hash of what the features depend on, as their shards tell it.
    """

    rows: range
    first: int
    fingerprint: str


@dataclass(frozen=True)
class StoreLayout:
    """Where things are in a store, and which rows each shard holds.

    Attributes
    ----------
    root
        Folder of the store.
    fingerprint
        What its features depend on.
    history
        What was done to it since it was begun.
    """

    root: Path
    fingerprint: Fingerprint
    history: History = History()  # noqa: RUF009 (frozen)

    @property
    def plan_path(self) -> Path:
        """Return the path of `store.json`."""
        return self.root / "store.json"

    @property
    def quarantine_path(self) -> Path:
        """Return the path of the ledger of bad samples."""
        return self.root / "quarantine.jsonl"

    @property
    def joined_view_path(self) -> Path:
        """Return the path of the virtual array over all shards."""
        return self.root / JOINED_VIEW

    @property
    def shards_folder(self) -> Path:
        """Return the folder that holds the shards."""
        return self.root / "shards"

    @property
    def history_path(self) -> Path:
        """Return the path of the history, which is not there where nothing was done."""
        return self.root / HISTORY_NAME

    @cached_property
    def num_shards(self) -> int:
        """Return the number of shards when complete."""
        last = self._segments[-1]
        return last.first + -(-len(last.rows) // self.fingerprint.rows_per_shard)

    def shard_path(self, shard: int) -> Path:
        """Return the path of a shard."""
        return self.shards_folder / f"{shard:08d}.h5"

    def shard_rows(self, shard: int) -> range:
        """Return the rows of the store that a shard holds."""
        segment, size = self._segment_of(shard), self.fingerprint.rows_per_shard
        first = segment.rows.start + (shard - segment.first) * size
        return range(first, min(first + size, segment.rows.stop))

    def rows_of(self, shards: range) -> range:
        """Return the rows of the store that consecutive shards hold."""
        first, last = self.shard_rows(shards[0]), self.shard_rows(shards[-1])
        return range(first.start, last.stop)

    def shard_fingerprint(self, shard: int) -> str:
        """Return the hash of what its features depend on that a shard tells."""
        return self._segment_of(shard).fingerprint

    def shards_of(self, rows: range) -> range:
        """Return the shards that hold consecutive rows."""
        if not rows:
            return range(0)
        return range(self._shard_of(rows.start), self._shard_of(rows.stop - 1) + 1)

    @property
    def removed(self) -> RowSet:
        """Return the rows that were removed: they are in no result."""
        return self.history.removed

    @cached_property
    def state(self) -> str:
        """Return what a result made of the store is known by: a hash of its features and rows.

        Of a store from which nothing was removed, it is that of the fingerprint.
        """
        return state_of(self.fingerprint, self.removed)

    @property
    def begun(self) -> str:
        """Return what a store is known by whatever is done to it: the hash it was begun with."""
        return self._segments[0].fingerprint

    def earlier(self) -> Iterator[StoreLayout]:
        """Yield the store as it was before its last change, before the one before, and so on."""
        for count in range(len(self.history.changes) - 1, 0, -1):
            last = self.history.changes[count - 1]
            then = replace(self.fingerprint, images=last.images, samples=last.samples)
            yield StoreLayout(self.root, then, self.history.until(count))

    def earlier_state(self, state: str) -> StoreLayout | None:
        """Return the store as it was when `state` was its state; None if it never was."""
        return next((layout for layout in self.earlier() if layout.state == state), None)

    def missing_shards(self) -> list[int]:
        """Return the shards that do not exist under their final name."""
        return [i for i in range(self.num_shards) if not self.shard_path(i).exists()]

    def plan(self) -> dict[str, Any]:
        """Return the contents of `store.json`."""
        plan = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint.recorded(),
            "fingerprint_hash": self.fingerprint.hash(),
            "num_shards": self.num_shards,
        }
        if self.history.changes:
            plan |= {"format_version": LIVING_FORMAT_VERSION, "history": self.history.head}
        return plan

    def recorded_plan(self) -> dict[str, Any]:
        """Return the contents of `store.json` as they are on disk."""
        recorded: dict[str, Any] = json.loads(self.plan_path.read_text())
        return recorded

    def is_edited(self) -> bool:
        """Return whether `store.json` tells a fingerprint and another hash than it has."""
        recorded = self.recorded_plan()
        digest = Fingerprint.of_record(recorded["fingerprint"]).hash()
        return bool(recorded.get("fingerprint_hash") != digest)

    def run_record(self) -> dict[str, Any]:
        """Return what `store.json` tells of how the features were computed, and how fast."""
        record: dict[str, Any] = self.recorded_plan().get("run", {})
        return record

    def images_alone(self) -> str:
        """Return the hash of the images that the samples are, or are made of; "" if not known.

        That of the samples, in the fingerprint, is another one where captions, labels or sampling
        paths make a sample besides.
        """
        return str(self.run_record().get(IMAGES_ALONE, ""))

    def pictures(self) -> str:
        """Return the hash of the pictures that imported features are of; "" if not known."""
        return str(self.run_record().get(PICTURES, ""))

    def class_names(self) -> tuple[str, ...] | None:
        """Return what the labels of the samples stand for, in their order; None for nothing."""
        names = self.run_record().get(CLASS_NAMES)
        return None if names is None else tuple(names)

    def write_run_record(self, record: dict[str, Any]) -> None:
        """Replace that. Nothing in it decides a feature."""
        write_json(self.plan_path, {**self.plan(), "run": record})

    @cached_property
    def _segments(self) -> tuple[ShardSegment, ...]:
        size, segments, first = self.fingerprint.rows_per_shard, list[ShardSegment](), 0
        for each in self.history.segments():
            then = replace(self.fingerprint, images=each.images, samples=each.samples)
            segments.append(ShardSegment(each.rows, first, then.hash()))
            first += -(-len(each.rows) // size)
        whole = ShardSegment(range(self.fingerprint.samples), 0, self.fingerprint.hash())
        return tuple(segments) or (whole,)

    def _segment_of(self, shard: int) -> ShardSegment:
        place = bisect_right(self._segments, shard, key=lambda segment: segment.first)
        return self._segments[place - 1]

    def _shard_of(self, row: int) -> int:
        place = bisect_right(self._segments, row, key=lambda segment: segment.rows.start)
        segment = self._segments[place - 1]
        return segment.first + (row - segment.rows.start) // self.fingerprint.rows_per_shard


def state_of(fingerprint: Fingerprint, removed: RowSet) -> str:
    """Return what a store of these features is known by once these rows were removed."""
    if not len(removed):
        return fingerprint.hash()
    return xxhash.xxh3_128_hexdigest(f"{fingerprint.hash()}|without {removed.text()}".encode())


def layout_of(root: Path, fingerprint: Fingerprint) -> StoreLayout:
    """Return the layout of the store with this fingerprint, with the history of the one there."""
    if (root / HISTORY_NAME).exists():
        stored = read_layout(root)
        if stored.fingerprint == fingerprint:
            return stored
    return StoreLayout(root, fingerprint)


def read_layout(root: Path) -> StoreLayout:
    """Return the layout of an existing store.

    Raises
    ------
    InputError
        If there is no store, or it was written by another version of the format.
    CorruptFileError
        If `store.json` cannot be read.
    """
    path = root / "store.json"
    if not path.is_file():
        raise InputError(
            "not a feature store (no store.json)",
            where=root,
            remedy="give a folder that dtrak-stream featurize wrote",
        )
    try:
        plan = json.loads(path.read_text())
        version = plan["format_version"]
        fingerprint = Fingerprint.of_record(plan["fingerprint"])
        known = plan.get("history", {"entries": 0, "hash": ""})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFileError(
            f"not readable ({error})", where=path, remedy="featurize into another --store"
        ) from error
    if version not in (FORMAT_VERSION, LIVING_FORMAT_VERSION):
        raise InputError(
            f"written in format {version}, this version reads {FORMAT_VERSION} and "
            f"{LIVING_FORMAT_VERSION}",
            where=path,
            remedy="featurize again, or use the version of dtrak_stream that wrote it",
        )
    return _with_history(StoreLayout(root, fingerprint), known)


def _with_history(planned: StoreLayout, known: Any) -> StoreLayout:
    """Return what a store is by its plan and the history that goes on from there.

    Parameters
    ----------
    planned
        What the plan tells.
    known
        What the plan tells of the history: how many changes there were when it was written, and
        the last hash.

    Raises
    ------
    CorruptFileError
        If the history that the plan knows is not the beginning of the one that is there.
    """
    history = read_history(planned.history_path)
    entries = known.get("entries") if isinstance(known, dict) else None
    then = history.until(entries) if type(entries) is int and entries >= 0 else History()
    last = then.changes[-1:] or history.changes[:1]
    told = planned.fingerprint.images, planned.fingerprint.samples
    agrees = all((change.images, change.samples) == told for change in last)
    if then.head != known or not agrees:
        raise CorruptFileError(
            f"is not the history that {planned.plan_path.name} beside it was written with",
            where=planned.history_path,
            remedy="put back what was there, or featurize into another --store",
        )
    if not history.changes:
        return planned
    now = history.changes[-1]
    fingerprint = replace(planned.fingerprint, images=now.images, samples=now.samples)
    return StoreLayout(planned.root, fingerprint, history)
