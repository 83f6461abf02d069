"""Arrays of features on disk, and the shortest way to import one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.exchange.importing import import_features
from dtrak_stream.exchange.options import (
    ArrayOptions,
    DeclaredFeatures,
    ImportConfig,
    ImportResult,
    RowRules,
)
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.names import each_of

DECLARED = {
    "source": "a model",
    "output_function": "square",
    "timesteps": "list:0,500",
    "projector": "normal",
    "scale": "1",
    "image_shape": "1x8x8",
}
_ARRAY = {"array_shape", "array_dtype", "array_order", "used_dim", "row_order"}
_RULES = {"bad_rows", "zero_rows"}
_STORE = {"ids", "images", "picked", "dtype", "rows_per_shard", "redo_corrupt"}


def random_features(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def import_config(array: Path | tuple[Path, ...], store: Path, **options: Any) -> ImportConfig:
    def taken(names: set[str]) -> dict[str, Any]:
        return {name: options.pop(name) for name in names & options.keys()}

    options = {"rows_per_shard": 4, **options}
    return ImportConfig(
        array=ArrayOptions(array if isinstance(array, tuple) else (array,), **taken(_ARRAY)),
        store=store,
        rules=RowRules(**taken(_RULES)),
        **taken(_STORE),
        features=DeclaredFeatures(**{**DECLARED, **options}),
        quiet=True,
    )


def imported(array: Path | tuple[Path, ...], store: Path, **options: Any) -> ImportResult:
    return import_features(import_config(array, store, **options))


def features_in(store: Path) -> np.ndarray:
    """All features of a store: (N, k) float32."""
    opened = FeatureStore.open(store)
    return opened.rows(range(len(opened)))


def ids_in(store: Path) -> list[str]:
    return [name.decode() for name in each_of(FeatureStore.open(store).ids)]
