"""Checking a feature store: plan, shards, ledger, joined view."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import ShardRows
from dtrak_stream.support.obstacles import refuse_unavailable
from dtrak_stream.support.progress import progress

_NAMED = 8  # bad shards that one line names
_FEATURIZE_AGAIN = "run the command that wrote this store again"


def verify_store(layout: StoreLayout, *, visible: bool) -> str:
    """Read all of a store; return one line about it.

    Raises
    ------
    CorruptFileError
        If its plan contradicts itself, a shard is damaged or of another length, or the ledger
        does not name exactly the rows without a feature.
    InputError
        If shards are missing.
    """
    _verify_plan(layout)
    bad = _verify_shards(FeatureStore.open(layout.root), visible=visible)
    _verify_ledger(layout, bad)
    _verify_joined_view(layout)
    fingerprint = layout.fingerprint
    changes = layout.history.changes[1:]
    removed = len(layout.removed)
    told = f", {removed:,} removed" if removed else ""
    told += f", changed {len(changes):,} times" if changes else ""
    return (
        f"{fingerprint.samples:,} rows of {fingerprint.proj_dim:,} in {layout.num_shards:,} "
        f"shards, checksums hold, {len(bad):,} quarantined{told}"
    )


def _verify_plan(layout: StoreLayout) -> None:
    if layout.is_edited():
        raise CorruptFileError(
            "its fingerprint does not have the hash that is written beside it",
            where=layout.plan_path,
            remedy="it was edited: put back what was there, or featurize into another folder",
        )


def _verify_shards(store: FeatureStore, *, visible: bool) -> dict[int, str]:
    """Read all shards, past bad ones; return number and id of the rows without a feature."""
    layout, bad, faults = store.layout, dict[int, str](), list[CorruptFileError]()
    with progress(
        layout.num_shards, description=f"checking {layout.root.name}", unit="shard", visible=visible
    ) as bar:
        for shard in range(layout.num_shards):
            try:
                rows = store.stored_shard(shard)
                _verify_rows(layout, shard, rows)
                bad |= _quarantined(layout.shard_rows(shard), rows)
            except CorruptFileError as fault:
                faults.append(fault)
            bar.update()
    _refuse_faults(layout, faults)
    return bad


def _quarantined(held: range, rows: ShardRows) -> dict[int, str]:
    places = np.flatnonzero(rows.scale == 0).tolist()
    return {held[place]: rows.sample_id[place].decode(errors="replace") for place in places}


def _refuse_faults(layout: StoreLayout, faults: list[CorruptFileError]) -> None:
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise CorruptFileError(
            f"{len(faults)} of {layout.num_shards} shards have a fault: "
            + "; ".join(f"{Path(fault.where).name} {fault.what}" for fault in faults[:_NAMED])
            + (" ..." if len(faults) > _NAMED else ""),
            where=layout.shards_folder,
            remedy=faults[0].remedy,
        )


def _verify_rows(layout: StoreLayout, shard: int, rows: ShardRows) -> None:
    expected = (len(layout.shard_rows(shard)), layout.fingerprint.proj_dim)
    problem = ""
    if rows.features.shape != expected:
        problem = f"holds {rows.features.shape}, the plan wants {expected}"
    elif rows.features.dtype != layout.fingerprint.dtype:
        problem = f"holds {rows.features.dtype}, the plan wants {layout.fingerprint.dtype}"
    elif not (np.isfinite(rows.features).all() and np.isfinite(rows.scale).all()):
        problem = "holds NaN or inf"
    elif (rows.residual is not None) != layout.fingerprint.has_residuals:
        problem = f"has {'no ' if rows.residual is None else ''}residuals, against the plan"
    elif rows.residual is not None and not _are_residuals(rows):
        problem = "holds a residual that is NaN, inf, negative or of another length"
    if problem:
        raise CorruptFileError(
            problem, where=layout.shard_path(shard), remedy=f"move it away and {_FEATURIZE_AGAIN}"
        )


def _are_residuals(rows: ShardRows) -> bool:
    found = rows.residual
    if found is None or found.shape != rows.scale.shape:
        return False
    return bool((np.isfinite(found) & (found >= 0)).all())


def _verify_ledger(layout: StoreLayout, bad: dict[int, str]) -> None:
    listed = {entry.row: entry.sample_id for entry in read_quarantine(layout.quarantine_path)}
    if listed != bad:
        row = min(row for row in listed | bad if listed.get(row) != bad.get(row))
        raise CorruptFileError(
            f"row {row} is {_told(listed, row)}, and {_told(bad, row)} in the shards",
            where=layout.quarantine_path,
            remedy=f"move that shard away and {_FEATURIZE_AGAIN}",
        )


def _told(samples: dict[int, str], row: int) -> str:
    return f"quarantined as {samples[row]}" if row in samples else "not quarantined"


def _verify_joined_view(layout: StoreLayout) -> None:
    path = layout.root / "features.h5"
    try:
        with h5py.File(path, "r") as file:
            fingerprint, shape = file.attrs["fingerprint"], file["features"].shape
    except (OSError, KeyError) as error:
        if path.exists():
            refuse_unavailable(path, error)
        raise InputError(
            "cannot be read" if path.exists() else "is missing",
            where=path,
            remedy=f"move it away if it is there, and {_FEATURIZE_AGAIN}: that writes it",
        ) from error
    expected = (layout.fingerprint.samples, layout.fingerprint.proj_dim)
    if fingerprint != layout.state or shape != expected:
        raise CorruptFileError(
            "shows another store", where=path, remedy=f"move it away and {_FEATURIZE_AGAIN}"
        )
