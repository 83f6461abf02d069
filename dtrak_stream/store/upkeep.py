"""A store before and after its shards are computed: refused, taken up, begun, settled."""

from __future__ import annotations

from collections.abc import Sequence

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store import (
    StoreLayout,
    keep_quarantine,
    read_layout,
    read_quarantine,
    read_shard,
)
from dtrak_stream.store.unfinished import drop_what_is_finished
from dtrak_stream.support.durable import PARTIAL_SUFFIX, remove_partials, write_json
from dtrak_stream.support.progress import progress, say


def continue_store(
    layout: StoreLayout, *, redo_corrupt: bool, verified: bool = False, visible: bool
) -> None:
    """Take up a store where it is, if it is the one asked for and nothing in it is damaged.

    Parameters
    ----------
    layout
        The store as it is asked for.
    redo_corrupt
        Whether damaged shards are removed, to be computed again, instead of refused.
    verified
        Whether it is known that its shards are whole: they are not read then.
    visible
        Whether to draw a progress bar.

    Raises
    ------
    FingerprintMismatchError
        If it was begun otherwise.
    CorruptFileError
        If a shard is damaged and `redo_corrupt` does not allow to compute it again.
    """
    stored = read_layout(layout.root)
    stored.fingerprint.refuse_other_run(layout.fingerprint, where=layout.root)
    remove_partials(layout.root)
    remove_partials(layout.shards_folder)
    drop_what_is_finished(layout)
    if not verified:
        _check_finished_shards(layout, redo_corrupt=redo_corrupt, visible=visible)


def refuse_foreign_folder(layout: StoreLayout) -> None:
    """Refuse what is there already and is none of ours, save what a killed beginning left.

    Raises
    ------
    InputError
        If the folder holds anything else.
    """
    root = layout.root
    leftover = layout.plan_path.with_name(layout.plan_path.name + PARTIAL_SUFFIX)
    if root.exists() and not (root.is_dir() and set(root.iterdir()) <= {leftover}):
        raise InputError(
            "not empty and not a feature store" if root.is_dir() else "not a folder",
            where=root,
            remedy="give a new or empty folder as --store",
        )


def begin_store(layout: StoreLayout) -> None:
    """Write what is not there yet. The plan comes first: it makes the folder a store."""
    if not layout.plan_path.exists():
        write_json(layout.plan_path, layout.plan())
    layout.shards_folder.mkdir(exist_ok=True)


def forget_quarantine_of(layout: StoreLayout, missing: Sequence[int]) -> None:
    """Drop ledger entries of shards that are to be computed, which will write them again."""
    entries = read_quarantine(layout.quarantine_path)
    redone = set(missing)
    rows_per_shard = layout.fingerprint.rows_per_shard
    kept = [entry for entry in entries if entry.row // rows_per_shard not in redone]
    keep_quarantine(layout.quarantine_path, kept)


def settle_quarantine(layout: StoreLayout) -> list[int]:
    """Order the ledger by row, whatever order shards were computed in; return its rows."""
    entries = sorted(read_quarantine(layout.quarantine_path), key=lambda entry: entry.row)
    keep_quarantine(layout.quarantine_path, entries)
    return [entry.row for entry in entries]


def _check_finished_shards(layout: StoreLayout, *, redo_corrupt: bool, visible: bool) -> None:
    missing = set(layout.missing_shards())
    finished = [shard for shard in range(layout.num_shards) if shard not in missing]
    with progress(
        len(finished), description="checking shards", unit="shard", visible=visible
    ) as bar:
        for shard in finished:
            try:
                read_shard(layout.shard_path(shard), layout.fingerprint.hash())
            except CorruptFileError as error:
                if not redo_corrupt:
                    raise
                say(f"{error.where}: {error.what}; computing it again")
                layout.shard_path(shard).unlink()
            bar.update()
