"""The products a Gram matrix is the sum of; they run on Dask workers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.gram.plan import GramForm, Tile
from dtrak_stream.store.reader import FeatureStore

_COLUMNS_PER_PRODUCT = 8192

Matrix = NDArray[np.float64]


def partial_product(store: FeatureStore, form: GramForm, tile: Tile, shards: range) -> Matrix:
    """Compute one product of the plan; runs on a worker.

    Parameters
    ----------
    store
        The features.
    form
        Primal: the sum over the rows of `shards`. Dual: over all k columns; `shards` is unused.
    tile
        The rectangle of the Gram matrix to compute.
    shards
        Shards to sum over.

    Returns
    -------
    ndarray
        (tile rows, tile columns) float64.
    """
    if form == "primal":
        return _primal_product(store, tile, shards)
    left = store.rows(tile.rows)
    right = left if tile.on_diagonal else store.rows(tile.columns)
    total = np.zeros((len(left), len(right)))
    for start in range(0, store.proj_dim, _COLUMNS_PER_PRODUCT):
        part = slice(start, start + _COLUMNS_PER_PRODUCT)
        total += left[:, part] @ right[:, part].T  # (n, m) @ (m, n') -> (n, n')
    return total


def _primal_product(store: FeatureStore, tile: Tile, shards: range) -> Matrix:
    total = np.zeros((len(tile.rows), len(tile.columns)))
    for shard in shards:
        for _, features in store.blocks(shard):
            left = features[:, _slice(tile.rows)]
            right = left if tile.on_diagonal else features[:, _slice(tile.columns)]
            total += left.T @ right  # (t, rows) @ (rows, t') -> (t, t')
    return total


def _slice(indices: range) -> slice:
    return slice(indices.start, indices.stop)
