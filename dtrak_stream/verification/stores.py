"""Checking a feature store: plan, shards, ledger, joined view."""

from __future__ import annotations

import json

import h5py
import numpy as np

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import ShardRows
from dtrak_stream.support.progress import progress

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
    store = FeatureStore.open(layout.root)
    bad: dict[int, str] = {}
    with progress(
        layout.num_shards, description=f"checking {layout.root.name}", unit="shard", visible=visible
    ) as bar:
        for shard in range(layout.num_shards):
            rows = store.shard(shard)
            _verify_rows(layout, shard, rows)
            first = layout.shard_rows(shard).start
            for place in np.flatnonzero(rows.scale == 0).tolist():
                bad[first + place] = rows.sample_id[place].decode(errors="replace")
            bar.update()
    _verify_ledger(layout, bad)
    _verify_joined_view(layout)
    fingerprint = layout.fingerprint
    return (
        f"{fingerprint.samples:,} rows of {fingerprint.proj_dim:,} in {layout.num_shards:,} "
        f"shards, checksums hold, {len(bad):,} quarantined"
    )


def _verify_plan(layout: StoreLayout) -> None:
    plan = json.loads(layout.plan_path.read_text())
    if plan.get("fingerprint_hash") != layout.fingerprint.hash():
        raise CorruptFileError(
            "its fingerprint does not have the hash that is written beside it",
            where=layout.plan_path,
            remedy="it was edited: put back what was there, or featurize into another folder",
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
            problem, where=layout.shard_path(shard), remedy=f"remove it and {_FEATURIZE_AGAIN}"
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
            remedy=f"remove that shard and {_FEATURIZE_AGAIN}",
        )


def _told(samples: dict[int, str], row: int) -> str:
    return f"quarantined as {samples[row]}" if row in samples else "not quarantined"


def _verify_joined_view(layout: StoreLayout) -> None:
    path = layout.root / "features.h5"
    try:
        with h5py.File(path, "r") as file:
            fingerprint, shape = file.attrs["fingerprint"], file["features"].shape
    except (OSError, KeyError) as error:
        raise InputError(
            "cannot be read" if path.exists() else "is missing",
            where=path,
            remedy=f"remove it if it is there, and {_FEATURIZE_AGAIN}: that writes it",
        ) from error
    expected = (layout.fingerprint.samples, layout.fingerprint.proj_dim)
    if fingerprint != layout.fingerprint.hash() or shape != expected:
        raise CorruptFileError(
            "shows another store", where=path, remedy=f"remove it and {_FEATURIZE_AGAIN}"
        )
