"""A store before its shards are computed: whose it is, what dead writers left, how it begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store.changing import is_to_grow
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.stored_shard import read_shard
from dtrak_stream.store.unfinished import drop_what_is_finished
from dtrak_stream.support.claims import claim_of, remove_useless_claims
from dtrak_stream.support.durable import is_partial_of, remove_partials, write_json
from dtrak_stream.support.progress import progress, say


def refuse_other_store(layout: StoreLayout) -> None:
    """Refuse a folder that holds another store, or what is no store; nothing is fine.

    Raises
    ------
    FingerprintMismatchError
        If the store that is there was begun otherwise.
    InputError
        If the folder holds anything else.
    """
    if layout.plan_path.exists():
        refuse_other_run(layout)
    elif not _is_new(layout):
        if layout.plan_path.exists():  # another run began it just now
            refuse_other_run(layout)
            return
        raise InputError(
            "not empty and not a feature store" if layout.root.is_dir() else "not a folder",
            where=layout.root,
            remedy="give a new or empty folder as --store (or --run)",
        )


def refuse_other_run(layout: StoreLayout) -> None:
    """Refuse to go on with the store that is there if it was begun otherwise.

    One that images are to be appended to is not refused.

    Raises
    ------
    FingerprintMismatchError
        Naming the first field that differs, and both values.
    """
    stored = read_layout(layout.root)
    if is_to_grow(layout, stored):
        return
    stored.fingerprint.refuse_other(
        layout.fingerprint,
        where=layout.root,
        remedy="give the options the store was begun with, or another --store (or --run)",
    )


def drop_leftovers(layout: StoreLayout) -> None:
    """Remove what dead writers left, and what is of no use any more; spare what others work on."""
    for folder in (layout.root, layout.shards_folder):
        remove_partials(folder)
    remove_useless_claims(layout.root, is_done=lambda _: False)
    remove_useless_claims(layout.shards_folder, is_done=Path.exists)
    drop_what_is_finished(layout)


def damaged_shards(layout: StoreLayout, redo_corrupt: bool, *, visible: bool) -> Iterator[int]:
    """Read all finished shards and yield the damaged ones, if they may be computed again.

    Raises
    ------
    CorruptFileError
        If a shard is damaged and `redo_corrupt` does not allow to compute it again.
    """
    missing = set(layout.missing_shards())
    finished = [shard for shard in range(layout.num_shards) if shard not in missing]
    with progress(
        len(finished), description="checking shards", unit="shard", visible=visible
    ) as bar:
        for shard in finished:
            try:
                read_shard(layout.shard_path(shard), layout.shard_fingerprint(shard))
            except CorruptFileError:
                if not redo_corrupt:
                    raise
                yield shard
            bar.update()


def remove_if_damaged(layout: StoreLayout, shard: int) -> None:
    """Remove a damaged shard; one that another process made again meanwhile stays."""
    try:
        read_shard(layout.shard_path(shard), layout.shard_fingerprint(shard))
    except CorruptFileError as error:
        say(f"{error.where}: {error.what}; computing it again")
        layout.shard_path(shard).unlink(missing_ok=True)


def begin_store(layout: StoreLayout) -> None:
    """Write what is not there yet; raises as `refuse_other_run` if another run was faster.

    The plan comes first: it makes the folder a store.
    """
    if layout.plan_path.exists():
        refuse_other_run(layout)
    else:
        write_json(layout.plan_path, layout.plan())
    layout.shards_folder.mkdir(exist_ok=True)


def _is_new(layout: StoreLayout) -> bool:
    """Return whether nothing is there, save what a run that begins makes, or left when killed."""
    plan = layout.plan_path
    if not layout.root.exists():
        return True
    return layout.root.is_dir() and all(
        path == claim_of(plan) or is_partial_of(path, plan) for path in layout.root.iterdir()
    )
