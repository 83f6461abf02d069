"""How images differ from those that a store was begun with, as far as counts and ids tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import DtrakStreamError, FingerprintMismatchError
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import Names, Places, each_of, name_at

_NAMED_AT_MOST = 3


def with_what_differs(
    refusal: FingerprintMismatchError, root: Path, samples: Samples
) -> FingerprintMismatchError:
    """Return a refusal of other images with how many there are, and which are not in both.

    Parameters
    ----------
    refusal
        What the store in `root` said; returned as it is if it is not about images.
    root
        The store. Unless all of its shards are there, only counts are told.
    samples
        What is there now.
    """
    if refusal.field != "images":
        return refusal
    try:
        layout = read_layout(root)
        counts = f"{layout.fingerprint.samples:,} images stored, {len(samples):,} now"
        ids = None if layout.missing_shards() else FeatureStore(layout).ids
        note = "; ".join([counts, *_differences(ids, _SampleIds(samples))]) if ids else counts
    except DtrakStreamError:
        return refusal  # a shard that cannot be read is no reason to say less
    return FingerprintMismatchError(
        refusal.field,
        refusal.stored,
        refusal.requested,
        where=refusal.where,
        remedy=refusal.remedy,
        note=note,
    )


@dataclass(frozen=True)
class _SampleIds:
    samples: Samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, places: slice) -> list[bytes]:
        rows = range(len(self))[places]
        return [name.encode() for name in self.samples.sample_ids(rows.start, rows.stop)]


def _differences(stored: Names, now: Names) -> Iterator[str]:
    added, removed = _strangers(now, stored), _strangers(stored, now)
    if len(added):
        last = len(added) == len(now) - len(stored) == len(now) - added[0]
        advice = ", which come last: take them with --append" if last else ""
        yield f"added: {_named(now, added)}{advice}"
    if len(removed):
        yield f"removed: {_named(stored, removed)}"
    if not len(added) and not len(removed):
        same_order = all(map(bytes.__eq__, each_of(stored), each_of(now)))
        yield (
            "their ids are the same: the contents of some differ, or how they are read"
            if same_order and len(stored) == len(now)
            else "their ids are the same in another order"
        )


def _strangers(names: Names, known: Names) -> Places:
    """Return the places of those `names` that are not among the known ones."""
    return np.flatnonzero(NameIndex(known).places(each_of(names), len(names)) < 0)


def _named(names: Names, places: Places) -> str:
    first = [name_at(names, int(place)) for place in itertools.islice(places, _NAMED_AT_MOST)]
    more = len(places) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")
