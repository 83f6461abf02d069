"""Verifying a Gram matrix tile by tile: in little memory, and wherever the fault is."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.verification.grams import verify_gram

SIZE = 500
STORE = SimpleNamespace(proj_dim=SIZE, layout=SimpleNamespace(root=Path("train")))
STORES: Any = SimpleNamespace(of_gram=lambda *_: STORE, halves=())


@pytest.fixture
def gram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A matrix of 8 x 8 tiles, the last ones smaller."""
    monkeypatch.setattr("dtrak_stream.verification.grams._TILE_BYTES", 8 * 64**2)
    rows = np.random.default_rng(0).standard_normal((SIZE, 20))
    with h5py.File(tmp_path / "gram.h5", "w") as file:
        file["gram"] = rows @ rows.T
        file.attrs.update(form="primal", fingerprint="of the store")
    return tmp_path / "gram.h5"


def test_memory_is_that_of_a_few_tiles(gram):
    assert verify_gram(gram, STORES) == "primal, 500 x 500, of train"  # everything is imported
    tracemalloc.start()
    verify_gram(gram, STORES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * SIZE**2 / 4


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((499, 2), 1e3, "is not symmetric"),
        ((70, 71), 1e3, "is not symmetric"),
        ((130, 260), np.nan, "holds NaN"),
        ((490, 490), -1.0, "has a negative number on its diagonal"),
    ],
)
def test_a_fault_in_any_tile_is_found(gram, place, value, message):
    with h5py.File(gram, "r+") as file:
        file["gram"][place] = value
    with pytest.raises(CorruptFileError, match=message):
        verify_gram(gram, STORES)
