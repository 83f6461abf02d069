"""The ledger of samples that could not be used, with the reason."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.stored_shard import open_shard, telling_damage
from dtrak_stream.support.durable import append_bytes, write_bytes

_LOST_REASON = "bad when it was computed; why was lost"


@dataclass(frozen=True)
class QuarantinedSample:
    """A sample that has no feature.

    Attributes
    ----------
    row
        Its row in the store.
    sample_id
        Its id in the image source.
    reason
        Why it could not be used.
    """

    row: int
    sample_id: str
    reason: str


def append_quarantine(path: Path, samples: list[QuarantinedSample]) -> None:
    """Add samples to the ledger, on disk before this returns."""
    if samples:
        # a line torn by a crash must not swallow the first of these
        append_bytes(path, (b"\n" if _is_torn(path) else b"") + _lines(samples))


def read_quarantine(path: Path) -> list[QuarantinedSample]:
    """Return the ledger's entries; lines torn by a crash are left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [entry for line in whole.splitlines() if (entry := _entry(line)) is not None]


def is_in_order(path: Path) -> bool:
    """Return whether the ledger holds each row once, in order."""
    rows = [entry.row for entry in read_quarantine(path)]
    return all(row < after for row, after in itertools.pairwise(rows))


def keep_quarantine(path: Path, samples: list[QuarantinedSample]) -> None:
    """Make the ledger hold `samples` and nothing else, such as a line torn by a crash."""
    wanted = _lines(samples)
    if wanted != (path.read_bytes() if path.exists() else b""):
        write_bytes(path, wanted)


def settle_quarantine(layout: StoreLayout) -> None:
    """Make the ledger of a complete store hold each bad row once, in order.

    Entries of a shard that was computed twice, or was begun and then computed otherwise, go: which
    rows are bad is what the shards say.
    """
    noted = {entry.row: entry for entry in read_quarantine(layout.quarantine_path)}
    entries: list[QuarantinedSample] = []
    for shard in range(layout.num_shards):
        path, first = layout.shard_path(shard), layout.shard_rows(shard).start
        stored = open_shard(path, layout.shard_fingerprint(shard))
        with telling_damage(path):
            bad = np.flatnonzero(stored.part("scale") == 0)
            ids = stored.part("sample_id") if len(bad) else np.empty(0, np.bytes_)
        for place in map(int, bad):
            sample_id = ids[place].decode()
            lost = QuarantinedSample(first + place, sample_id, _LOST_REASON)
            entries.append(noted.get(first + place, lost))
    keep_quarantine(layout.quarantine_path, entries)


def _entry(line: bytes) -> QuarantinedSample | None:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):  # the beginning of an object is no JSON
        return None
    kinds = {"row": int, "sample_id": str, "reason": str}
    if not isinstance(told, dict) or {name: type(each) for name, each in told.items()} != kinds:
        return None  # damaged: which rows are bad is what the shards say
    return QuarantinedSample(**told)


def _is_torn(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _lines(samples: list[QuarantinedSample]) -> bytes:
    return b"".join(json.dumps(asdict(sample)).encode() + b"\n" for sample in samples)
