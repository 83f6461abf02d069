"""The products a Gram matrix is the sum of; they run on Dask workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.gram.plan import GramForm, Tile
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import cut_rows, load_rows, stream_rows
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.buffers import empty_on
from dtrak_stream.support.cluster_options import own_device
from dtrak_stream.support.matrix_products import add_to, multiply

_COLUMNS_PER_PRODUCT = 8192
_MIRRORED_AT_A_TIME = 1024

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Arithmetic:
    """How products are computed.

    Attributes
    ----------
    rows_at_a_time
        Rows whose product is one float32 sum.
    device
        Where, as torch calls it.
    tf32
        Whether factors may be cut to 11 bits there.
    """

    rows_at_a_time: int = 4096
    device: str = "cpu"
    tf32: bool = False


def partial_product(
    store: FeatureStore,
    form: GramForm,
    tile: Tile,
    shards: range,
    arithmetic: Arithmetic = Arithmetic(),
) -> Matrix:
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
    arithmetic
        How: products of blocks are float32, sums of them float64. A worker that has a device of
        its own computes there.

    Returns
    -------
    ndarray
        (tile rows, tile columns) float64.
    """
    device = torch.device(own_device() or arithmetic.device)
    with repeatable(device, tf32=arithmetic.tf32):
        if form == "primal":
            total = _primal_product(store, tile, shards, device, arithmetic.rows_at_a_time)
        else:
            total = _dual_product(store, tile, device, arithmetic.rows_at_a_time)
    if tile.on_diagonal and device.type != "cpu":
        mirror(total)
    product: Matrix = total.cpu().numpy()
    return product


def _primal_product(
    store: FeatureStore, tile: Tile, shards: range, device: torch.device, rows_at_a_time: int
) -> Tensor:
    first, last = (store.layout.shard_rows(shard) for shard in (shards[0], shards[-1]))
    total, product = _sum_and_term(len(tile.rows), len(tile.columns), device)
    for block in stream_rows(
        store, cut_rows(range(first.start, last.stop), rows_at_a_time), device
    ):
        features = block.scaled()
        left, right = features[:, _slice(tile.rows)], features[:, _slice(tile.columns)]
        add_to(total, multiply(left.T, right, product))  # (t, n) @ (n, t') -> (t, t')
    return total


def _dual_product(
    store: FeatureStore, tile: Tile, device: torch.device, rows_at_a_time: int
) -> Tensor:
    left = load_rows(store, tile.rows, device, rows_at_a_time)
    right = left if tile.on_diagonal else load_rows(store, tile.columns, device, rows_at_a_time)
    total, product = _sum_and_term(len(left), len(right), device)
    for start in range(0, store.proj_dim, _COLUMNS_PER_PRODUCT):
        part = slice(start, start + _COLUMNS_PER_PRODUCT)
        multiply(left[:, part], right[:, part].T, product)  # (t, m) @ (m, t') -> (t, t')
        add_to(total, product)
    return total


def _sum_and_term(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    total = empty_on(device, (rows, columns), torch.float64).zero_()
    return total, empty_on(device, (rows, columns))


def mirror(matrix: Tensor) -> None:
    """Make a matrix (t, t) its own mirror image: what is above its diagonal goes below, in place.

    A GPU may add the same products in another order on both sides.
    """
    for start in range(0, len(matrix), _MIRRORED_AT_A_TIME):
        part = slice(start, start + _MIRRORED_AT_A_TIME)
        matrix[part, :start] = matrix[:start, part].T
        matrix[part, part] = matrix[part, part].triu() + matrix[part, part].triu(1).T


def _slice(indices: range) -> slice:
    return slice(indices.start, indices.stop)
