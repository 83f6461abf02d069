"""Scores of a block of queries against training samples, in blocks of consecutive rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dtrak_stream.kernel.solvers import DampedKernel
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import CPU, cut_rows, stream_rows
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.buffers import empty_on
from dtrak_stream.support.matrix_products import multiply_by_rows


class ScoreBlocks(Protocol):
    """Scores of a block of queries, for each lambda."""

    def of_parts(self, parts: Sequence[range]) -> Iterator[FloatArray]:
        """Yield the scores (L, Q, n) float32 against each of several runs of training rows.

        They may be changed, and are good until the next ones are asked for.
        """


@dataclass(frozen=True)
class Products:
    """How scores are computed.

    Attributes
    ----------
    device
        Where.
    tf32
        Whether factors may be cut to 11 bits there.
    rows_at_a_time
        Training rows that are read at a time.
    queries_at_a_time
        Queries for which there is room.
    """

    device: torch.device = CPU
    tf32: bool = False
    rows_at_a_time: int = 4096
    queries_at_a_time: int = 64


class DotProducts:
    """Scores without a kernel: phi_q . phi_n.

    Parameters
    ----------
    queries
        (Q, k) features of the queries.
    train
        Features of the training samples.
    products
        How they are computed.
    """

    def __init__(self, queries: FloatArray, train: FeatureStore, products: Products) -> None:
        self._queries, self._train, self._products = queries, train, products

    def of_parts(self, parts: Sequence[range]) -> Iterator[FloatArray]:
        """Yield the scores (1, Q, n) of each run of rows; see `ScoreBlocks`."""
        for scores in dot_products(self._queries, self._train, parts, self._products):
            yield scores[None]


class PrimalScores:
    """Scores by the (k, k) kernel: queries are preconditioned once, then features stream by.

    Parameters
    ----------
    queries
        (Q, k) features of the queries.
    kernel
        (Phi^T Phi + lambda I)^-1 for L lambdas.
    train
        Features of the training samples.
    products
        How they are multiplied.
    """

    def __init__(
        self, queries: FloatArray, kernel: DampedKernel, train: FeatureStore, products: Products
    ) -> None:
        self._shape = (kernel.count, len(queries), -1)
        solved = kernel.solve(queries).astype(np.float32)  # (L, Q, k)
        self._preconditioned = solved.reshape(-1, queries.shape[1])  # (L Q, k)
        self._train, self._products = train, products

    def of_parts(self, parts: Sequence[range]) -> Iterator[FloatArray]:
        """Yield the scores (L, Q, n) of each run of rows; see `ScoreBlocks`."""
        for scores in dot_products(self._preconditioned, self._train, parts, self._products):
            yield scores.reshape(self._shape)


class DualScores:
    """Scores by the (N, N) kernel: tau = (Phi_q Phi^T) (Phi Phi^T + lambda I)^-1.

    Equal to the primal score, and smaller when N <= k. Parameters as for `PrimalScores`, with
    kernel (Phi Phi^T + lambda I)^-1.
    """

    def __init__(
        self, queries: FloatArray, kernel: DampedKernel, train: FeatureStore, products: Products
    ) -> None:
        (of_all,) = dot_products(queries, train, [range(len(train))], products)  # (Q, N)
        self._scores: NDArray[np.float64] = kernel.solve(of_all)  # (L, Q, N)

    def of_parts(self, parts: Sequence[range]) -> Iterator[FloatArray]:
        """Yield the scores (L, Q, n) of each run of rows; see `ScoreBlocks`."""
        for rows in parts:
            yield self._scores[:, :, rows.start : rows.stop].astype(np.float32)


def dot_products(
    queries: FloatArray, train: FeatureStore, parts: Sequence[range], products: Products
) -> Iterator[FloatArray]:
    """Yield queries Phi^T for runs of training rows: (Q, k) @ (k, n) -> (Q, n).

    The memory of one is that of the next. On a CPU products are computed in it.
    """
    step, longest = products.rows_at_a_time, max(map(len, parts), default=0)
    cuts = [cut for part in parts for cut in cut_rows(part, step)]
    with repeatable(products.device, tf32=products.tf32):
        left = torch.from_numpy(queries).to(products.device)
        scores = empty_on(CPU, (len(queries), longest))
        is_here, size = products.device.type == "cpu", (len(queries), min(step, longest))
        product = None if is_here else empty_on(products.device, size)
        blocks = stream_rows(train, cuts, products.device)
        for part in parts:
            filled = scores[:, : len(part)]
            for block in itertools.islice(blocks, len(cut_rows(part, step))):
                place = slice(block.rows.start - part.start, block.rows.stop - part.start)
                found = filled[:, place] if product is None else product[:, : len(block.rows)]
                multiply_by_rows(left, block.features, found)  # (Q, k) @ (k, b) -> (Q, b)
                found *= block.scale
                if product is not None:
                    filled[:, place] = found
            yield filled.numpy()
