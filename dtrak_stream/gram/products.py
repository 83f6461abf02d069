"""The products a Gram matrix is the sum of; they run on Dask workers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.errors import InterruptedRunError
from dtrak_stream.gram.plan import GramForm, Tile
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import cut_rows, load_rows, stream_rows
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.buffers import empty_on
from dtrak_stream.support.cluster_options import own_device
from dtrak_stream.support.matrix_products import add_to, multiply
from dtrak_stream.support.stopping import stop_wanted

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
    """Compute one product of the plan; see `sum_of_products`."""
    return sum_of_products(store, form, tile, (shards,), arithmetic)


def sum_of_products(
    store: FeatureStore,
    form: GramForm,
    tile: Tile,
    groups: Sequence[range],
    arithmetic: Arithmetic = Arithmetic(),
) -> Matrix:
    """Compute the sum of some products of the plan; runs on a worker.

    It is what those of each group give when they are added in a tree, to the bit; memory is taken
    once, and rows of the next group are read while those of one are multiplied.

    Parameters
    ----------
    store
        The features.
    form
        Primal: the sum over the rows of all groups. Dual: over all k columns; `groups` is unused.
    tile
        The rectangle of the Gram matrix to compute.
    groups
        Shards to sum over, each group apart.
    arithmetic
        How: products of blocks are float32, sums of them float64. A worker that has a device of
        its own computes there.

    Returns
    -------
    ndarray
        (tile rows, tile columns) float64.

    Raises
    ------
    InterruptedRunError
        If it is to stop; see `stop_wanted`.
    """
    device = torch.device(own_device() or arithmetic.device)
    with repeatable(device, tf32=arithmetic.tf32):
        if form == "primal":
            total = _primal_sum(store, tile, groups, device, arithmetic.rows_at_a_time)
        else:
            total = _dual_product(store, tile, device, arithmetic.rows_at_a_time)
    if tile.on_diagonal and device.type != "cpu":
        mirror(total)
    product: Matrix = total.cpu().numpy()
    return product


def _primal_sum(
    store: FeatureStore,
    tile: Tile,
    groups: Sequence[range],
    device: torch.device,
    rows_at_a_time: int,
) -> Tensor:
    size = len(tile.rows), len(tile.columns)
    sums, product = TreeSum(size, device), empty_on(device, size)
    cuts = [cut_rows(store.layout.rows_of(group), rows_at_a_time) for group in groups]
    blocks = stream_rows(store, list(itertools.chain(*cuts)), device, scaled=True)
    for of_group in cuts:
        total = sums.begin()
        for block in itertools.islice(blocks, len(of_group)):
            if stop_wanted():
                raise InterruptedRunError("no more is multiplied")
            left, right = (block.features[:, _slice(part)] for part in (tile.rows, tile.columns))
            add_to(total, multiply(left.T, right, product))  # (t, n) @ (n, t') -> (t, t')
        sums.end()
    return sums.result()


@dataclass
class TreeSum:
    """Adds matrices as they come, each to its neighbour, then these sums, and so on, in place.

    Attributes
    ----------
    size
        Of each matrix, which is float64.
    device
        Where they are.
    """

    size: tuple[int, int]
    device: torch.device
    _sums: list[tuple[int, Tensor]] = field(default_factory=list)
    """Of how many pairs of pairs each is made, and the sum; these counts fall."""
    _unused: list[Tensor] = field(default_factory=list)

    def begin(self) -> Tensor:
        """Return zeros, to be made the next matrix."""
        if not self._unused:
            self._unused.append(empty_on(self.device, self.size, torch.float64))
        self._sums.append((0, self._unused.pop().zero_()))
        return self._sums[-1][1]

    def end(self) -> None:
        """Add that matrix to those before which it completes a pair with."""
        while len(self._sums) > 1 and self._sums[-1][0] == self._sums[-2][0]:
            self._join()

    def result(self) -> Tensor:
        """Return the sum of all matrices, of which there is at least one."""
        while len(self._sums) > 1:
            self._join()
        return self._sums[0][1]

    def _join(self) -> None:
        _, right = self._sums.pop()
        pairs, left = self._sums[-1]
        add_to(left, right)
        self._sums[-1] = pairs + 1, left
        self._unused.append(right)


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
