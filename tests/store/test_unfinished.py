"""Rows that an interrupted run kept beside their shard come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.unfinished import ComputedRows, UnfinishedShards
from tests.conftest import fingerprint_of_features

ROWS = 3


def rows_of(features: np.ndarray, residual: np.ndarray) -> ComputedRows:
    return ComputedRows(0, features, [f"{row}.png" for row in range(ROWS)], residual)


def unfinished_at(root: Path, engine: str = "hooked") -> UnfinishedShards:
    layout = StoreLayout(root, fingerprint_of_features(ROWS, 4))
    return UnfinishedShards(layout, {"engine": engine})


def kept_rows(root: Path) -> ComputedRows:
    """Two of three rows, the second without a feature, kept at `root`."""
    rows = rows_of(np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 4), np.ones(ROWS, "f4"))
    rows.features[1] = np.nan
    rows.reasons[1] = "kein Bild: „größer“ ⚠"
    rows.done = 2
    unfinished_at(root).keep(rows)
    return rows


def empty_rows() -> ComputedRows:
    return rows_of(np.full((ROWS, 4), np.nan, np.float32), np.full(ROWS, np.nan, np.float32))


def test_rows_that_are_done_come_back_with_their_reasons(tmp_path):
    kept, rows = kept_rows(tmp_path), empty_rows()
    unfinished_at(tmp_path).restore(rows)
    assert rows.done == 2
    assert rows.reasons == kept.reasons
    np.testing.assert_array_equal(rows.features[:2], kept.features[:2])
    assert np.isnan(rows.features[2:]).all()
    np.testing.assert_array_equal(rows.residual, [1, 1, np.nan])


def test_rows_that_were_computed_otherwise_do_not_come_back(tmp_path):
    kept_rows(tmp_path)
    rows = empty_rows()
    unfinished_at(tmp_path, "vmap").restore(rows)
    assert (rows.done, rows.reasons) == (0, {})
    assert np.isnan(rows.features).all()
