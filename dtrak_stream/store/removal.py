"""Removing samples from a store: their rows are marked, and are in no result from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtrak_stream.data.row_files import read_rows
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError, first_few
from dtrak_stream.store.changing import change_store, require_complete, settle_change
from dtrak_stream.store.history import Change
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal_options import RemoveConfig
from dtrak_stream.store.row_set import Rows, RowSet
from dtrak_stream.store.store_set import store_roots
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import each_of, name_at
from dtrak_stream.support.progress import say


@dataclass(frozen=True)
class RemoveResult:
    """What was removed.

    Attributes
    ----------
    path
        The first store.
    removed
        Number of rows that this call removed from each store, or fewer where some were gone.
    quarantined
        Always 0: bad samples were reported when they were featurized.
    """

    path: Path
    removed: int
    quarantined: int = 0


def remove(config: RemoveConfig) -> RemoveResult:
    """Remove samples from every store, or finish what an interrupted call began.

    Raises
    ------
    ConfigurationError
        If it is not said what to remove, or said twice.
    InputError
        If there is no such store, or it is not complete; if the file names a sample that a store
        does not have, or has more than once; or if nothing would be left. Nothing is removed then.
    CorruptFileError
        If a store cannot be read.
    DiskFullError
        If there is no room.
    """
    config.refuse_nothing_to_do()
    roots = [root for store in config.store for root in store_roots(store)]
    for layout in map(read_layout, roots):  # all of them before the first is changed
        require_complete(layout)
        _change(layout, _rows_of(config, layout))
    counts = [_remove(config, root) for root in roots]
    return RemoveResult(config.store[0], max(counts))


def _remove(config: RemoveConfig, root: Path) -> int:
    """Remove from one store; return how many rows that were."""
    before = read_layout(root)
    rows = _rows_of(config, before)
    layout = change_store(before, lambda now: _change(now, rows))
    settle_change(layout)
    removed = len(layout.removed - before.removed)
    left = layout.fingerprint.samples - len(layout.removed)
    told = f"{removed:,} samples removed" if removed else "all of them are removed already"
    say(f"{root}: {told}; {left:,} of {layout.fingerprint.samples:,} are left")
    return removed


def _change(layout: StoreLayout, rows: RowSet) -> Change | None:
    gone = rows - layout.removed
    if not len(gone):
        return None
    if len(layout.removed) + len(gone) == layout.fingerprint.samples:
        raise InputError(
            "no sample would be left", where=layout.root, remedy="remove fewer, or the whole store"
        )
    return Change.now("removed", layout.fingerprint.images, layout.fingerprint.samples, gone)


def _rows_of(config: RemoveConfig, layout: StoreLayout) -> RowSet:
    """Return the rows of a store that are to be removed."""
    if config.rows is not None:
        return RowSet.of(read_rows(config.rows, layout.fingerprint.samples))
    assert config.ids is not None
    return RowSet.of(_rows_called(_read_ids(config.ids), layout, config.ids))


def _read_ids(path: Path) -> list[bytes]:
    try:
        with open_regular(path) as file:
            names = [line.rstrip(b"\r\n") for line in file]
    except OSError as error:
        raise unreadable(path, error) from error
    wanted = list(dict.fromkeys(filter(None, names)))
    if not wanted:
        raise InputError("names no sample", where=path, remedy="write an id in each line")
    return wanted


def _rows_called(wanted: Sequence[bytes], layout: StoreLayout, path: Path) -> Rows:
    """Return the row of each id."""
    ids = FeatureStore(layout).ids
    places = NameIndex(wanted).places(each_of(ids), len(ids))  # (N,), -1 for all others
    rows = np.flatnonzero(places >= 0)
    unknown = np.setdiff1d(np.arange(len(wanted)), places[rows])
    if len(unknown):
        names = [wanted[place].decode(errors="replace") for place in unknown[:4]]
        raise InputError(
            f"{len(unknown):,} of its ids are not in {layout.root} ({first_few(names)})",
            where=path,
            remedy="name samples of the store, as its scores tell them; row numbers are for --rows",
        )
    left = np.setdiff1d(rows, layout.removed.rows, assume_unique=True)
    found, counts = np.unique(places[left], return_counts=True)
    if (counts > 1).any():
        twin = name_at(wanted, int(found[counts > 1][0]))
        raise InputError(
            f"{layout.root} has several samples called {twin}",
            where=path,
            remedy="tell them apart by row numbers, with --rows",
        )
    return rows
