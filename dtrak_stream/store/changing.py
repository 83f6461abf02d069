"""Changing a complete store: one change at a time, done at one moment, harmless when killed.

The moment is a line of the history. Before it the joined view goes, which shows the store as it
was; after it the plan is written anew. Whoever comes next finds the store before or after, and
`settle_change` makes up for what is still to be done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from dtrak_stream.errors import InputError
from dtrak_stream.store.history import Change, History, write_history
from dtrak_stream.store.joined_view import write_joined_view
from dtrak_stream.store.layout import IMAGES_ALONE, StoreLayout, read_layout
from dtrak_stream.support.claims import alone_with
from dtrak_stream.support.durable import remove_partials_of, write_json

Changed = Callable[[StoreLayout], Change | None]
"""Returns how a store is to be changed from what it is; None for not at all."""


def change_store(layout: StoreLayout, wanted: Changed) -> StoreLayout:
    """Change a store, after whoever else changes it; return what it is then.

    Parameters
    ----------
    layout
        The store, as it was when it was last looked at.
    wanted
        Asked what to do once nobody else changes the store; what it raises is passed on.

    Raises
    ------
    InputError
        If shards of the store are missing: it is to be finished before it is changed.
    DiskFullError
        If there is no room; nothing is changed then.
    """
    with alone_with(layout.plan_path):
        layout = read_layout(layout.root)
        change = wanted(layout)
        if change is not None:
            require_complete(layout)
            layout = _changed(layout, change)
        _keep_plan(layout)
    return layout


def grow(layout: StoreLayout) -> StoreLayout:
    """Append to a store what `layout`, of `appended`, has more than the store that is there.

    Returns
    -------
    StoreLayout
        The store with its new rows, whose shards are missing; as it is if they are not new to it.

    Raises
    ------
    FingerprintMismatchError
        If it was changed otherwise meanwhile.
    """

    def wanted(now: StoreLayout) -> Change | None:
        if now.fingerprint != layout.fingerprint and not is_to_grow(layout, now):
            now.fingerprint.refuse_other(
                layout.fingerprint,
                where=layout.root,
                remedy="it was changed meanwhile: run the same command again",
            )
        return None if now.fingerprint == layout.fingerprint else layout.history.changes[-1]

    return change_store(layout, wanted)


def require_complete(layout: StoreLayout) -> None:
    """Refuse a store that is still being filled.

    Raises
    ------
    InputError
        If shards are missing.
    """
    missing = layout.missing_shards()
    if missing:
        raise InputError(
            f"{len(missing)} of {layout.num_shards} shards are missing",
            where=layout.root,
            remedy="finish it with the command that began it, then change it",
        )


def settle_change(layout: StoreLayout) -> None:
    """Write the joined view of a complete store if a change has taken it away."""
    if not layout.joined_view_path.exists():
        with alone_with(layout.joined_view_path):
            remove_partials_of(layout.joined_view_path)
            write_joined_view(layout)


def is_to_grow(layout: StoreLayout, now: StoreLayout) -> bool:
    """Return whether `layout` is the store that is there `now` with images appended."""
    before = layout.history.until(len(layout.history.changes) - 1)
    return bool(before.changes) and before.hashes == _begun(now).hashes


def appended(layout: StoreLayout, images: str, samples: int) -> StoreLayout:
    """Return what a store will be with images appended; nothing is written."""
    change = Change.now("appended", images, samples)
    fingerprint = replace(layout.fingerprint, images=images, samples=samples)
    return StoreLayout(layout.root, fingerprint, _begun(layout).with_change(change))


def _changed(layout: StoreLayout, change: Change) -> StoreLayout:
    begun = _begun(layout)
    if not layout.history.changes:
        write_history(layout.history_path, layout.history, begun)
        layout = replace(layout, history=begun)
        _keep_plan(layout)
    layout.joined_view_path.unlink(missing_ok=True)
    longer = begun.with_change(change)
    write_history(layout.history_path, begun, longer)
    fingerprint = replace(layout.fingerprint, images=change.images, samples=change.samples)
    return StoreLayout(layout.root, fingerprint, longer)


def _begun(layout: StoreLayout) -> History:
    """Return the history of a store, which begins with what it was when it was featurized."""
    if layout.history.changes:
        return layout.history
    fingerprint = layout.fingerprint
    return History().with_change(Change("begun", fingerprint.images, fingerprint.samples))


def _keep_plan(layout: StoreLayout) -> None:
    """Let the plan know the history as far as it goes by now."""
    recorded = layout.recorded_plan()
    known = recorded.get("history", {"entries": 0})["entries"]
    plan, record = layout.plan(), dict(recorded.get("run", {}))
    if any(change.change == "appended" for change in layout.history.changes[known:]):
        record.pop(IMAGES_ALONE, None)  # of fewer images
    if record:
        plan["run"] = record
    if json.loads(json.dumps(plan)) != recorded:
        write_json(layout.plan_path, plan)
