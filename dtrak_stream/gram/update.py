"""A Gram matrix brought up to date: rows that came are added to it, rows that went are taken off.

Primal, G = sum of phi_n phi_n^T over all rows: products of the new rows are added, in float32 as
ever; those of removed rows are subtracted, in float64. What rounding their float32 products had
brought into the sum stays in it, and counts for more the less is left of the sum. How much that
is, is measured: G X is compared with Phi^T (Phi X), from one pass over the store, for random signs
X. Dual, G = (phi_n . phi_m): rows and columns are appended, or become zeros, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.gram.file import Gram, write_gram
from dtrak_stream.gram.plan import GramPlan, Tile
from dtrak_stream.gram.products import Arithmetic, Matrix, partial_product
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_set import RowSet
from dtrak_stream.store.row_stream import CPU, cut_rows, stream_rows
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.progress import say

TOLERANCE = 1e-6
"""The largest error of a matrix from which rows were subtracted, relative to itself."""

_PROBES = 4
_SUBTRACTING = 2  # what a row costs in float64, of what it costs in float32
_IN_CACHE = 2**20  # bytes of rows that are multiplied twice while they are near
_CHECKING = 0.1  # what reading a row for the check costs, of that


class RoundedOffError(DtrakStreamError):
    """A matrix from which rows were subtracted is not what its store says: it is to be computed."""


@dataclass(frozen=True)
class GramUpdate:
    """The change of a Gram matrix that follows from what was done to its store.

    Attributes
    ----------
    gram
        The matrix of the store as it was.
    then, now
        The store as it was, and as it is.
    plan
        How the new matrix is cut.
    """

    gram: Gram
    then: FeatureStore
    now: FeatureStore
    plan: GramPlan

    @property
    def added(self) -> range:
        """Return the shards that came."""
        return range(self.then.layout.num_shards, self.now.layout.num_shards)

    @property
    def removed(self) -> RowSet:
        """Return the rows that went."""
        gone = self.now.layout.removed - self.then.layout.removed
        return RowSet(gone.within(range(len(self.then))))

    @property
    def pays_off(self) -> bool:
        """Return whether it takes less than computing the matrix."""
        left, added = len(self.now) - len(self.now.layout.removed), len(self.now) - len(self.then)
        if self.plan.form == "dual":
            return added < left / 2
        checking = _CHECKING * left if len(self.removed) else 0
        return added + _SUBTRACTING * len(self.removed) + checking < left

    def write(self, path: Path) -> float:
        """Write the new matrix; return its relative error as measured, 0 where none can be.

        Raises
        ------
        RoundedOffError
            If it is above `TOLERANCE`; nothing is written then.
        DiskFullError
            If there is no room.
        """
        if self.plan.form == "dual":
            write_gram(path, self.plan, self.now, self._dual_tiles())
            return 0.0
        check = _Check.of(self.now, self.plan.rows_at_a_time) if len(self.removed) else None
        write_gram(path, self.plan, self.now, self._primal_tiles(check))
        return check.error if check is not None else 0.0

    @property
    def _arithmetic(self) -> Arithmetic:
        return Arithmetic(self.plan.rows_at_a_time)

    def _primal_tiles(self, check: _Check | None) -> Iterator[tuple[Tile, Matrix]]:
        for tile in self.plan.tiles():
            total = self.gram.part(tile.rows, tile.columns)
            if self.added:
                total += partial_product(self.now, "primal", tile, self.added, self._arithmetic)
            self._subtract(tile, total)
            if check is not None:
                check.add(tile, total)
            yield tile, total
        if check is not None:
            check.refuse_rounded_off(self.gram.path)

    def _subtract(self, tile: Tile, total: Matrix) -> None:
        for features in self.then.picked(self.removed.rows):
            left = features[:, _slice(tile.rows)].astype(np.float64)
            right = left if tile.on_diagonal else features[:, _slice(tile.columns)].astype(float)
            total -= left.T @ right  # (t, rows) @ (rows, t') -> (t, t')

    def _dual_tiles(self) -> Iterator[tuple[Tile, Matrix]]:
        """Yield tiles that are cut where the new rows begin; nothing is multiplied before that."""
        for tile in _tiles_cut_at(self.gram.size, self.plan):
            if tile.columns.stop <= self.gram.size:
                part = self.gram.part(tile.rows, tile.columns)
                part[self.removed.within(tile.rows) - tile.rows.start] = 0
                part[:, self.removed.within(tile.columns) - tile.columns.start] = 0
                yield tile, part
            else:
                yield tile, partial_product(self.now, "dual", tile, range(0), self._arithmetic)


def bring_up_to_date(gram: Gram, store: FeatureStore, plan: GramPlan) -> bool:
    """Replace the matrix of a store as it was, if that is exact and takes less than a new one.

    Parameters
    ----------
    gram
        The matrix that is there.
    store
        The store as it is.
    plan
        How its matrix is cut.

    Returns
    -------
    bool
        Whether it was replaced; else it is as it was.
    """
    then = store.earlier(gram.fingerprint)
    if then is None or plan.form != gram.form:
        return False
    update = GramUpdate(gram, then, store, plan)
    if not update.pays_off:
        return False
    try:
        error = update.write(gram.path)
    except RoundedOffError as refusal:
        say(f"{gram.path}: {refusal.what}: computing it anew")
        return False
    say(
        f"{gram.path}: brought up to date, {len(store) - len(then):,} rows added and "
        f"{len(update.removed):,} removed{f', relative error {error:.1e}' if error else ''}"
    )
    return True


@dataclass
class _Check:
    """Compares a matrix with the store it is of: G X with Phi^T (Phi X)."""

    signs: FloatArray  # (k, probes)
    wanted: Matrix  # (k, probes)
    found: Matrix  # (k, probes)

    @classmethod
    def of(cls, store: FeatureStore, rows_at_a_time: int) -> _Check:
        generator = np.random.default_rng(int(store.layout.state, 16))
        signs = generator.choice([-1.0, 1.0], (store.proj_dim, _PROBES)).astype(np.float32)
        wanted = np.zeros(signs.shape)
        rows_at_a_time = min(rows_at_a_time, max(1, _IN_CACHE // (4 * store.proj_dim)))
        for block in stream_rows(store, cut_rows(range(len(store)), rows_at_a_time), CPU):
            features, scale = block.features.numpy(), block.scale.numpy()[:, None]
            projected = features @ signs  # (n, k) @ (k, probes) -> (n, probes)
            for _ in range(2):  # each row of features stands for as many times itself
                projected *= scale
            wanted += (projected.T @ features).T  # ((probes, n) @ (n, k)).T -> (k, probes)
        return cls(signs, wanted, np.zeros(signs.shape))

    def add(self, tile: Tile, part: Matrix) -> None:
        """Take in a tile of the upper triangle."""
        rows, columns = _slice(tile.rows), _slice(tile.columns)
        self.found[rows] += part @ self.signs[columns]
        if not tile.on_diagonal:
            self.found[columns] += part.T @ self.signs[rows]

    @property
    def error(self) -> float:
        """Return the relative error, in the Frobenius norm over all probes."""
        length = float(np.linalg.norm(self.wanted))
        return float(np.linalg.norm(self.found - self.wanted)) / length if length else np.inf

    def refuse_rounded_off(self, path: Path) -> None:
        if not self.error <= TOLERANCE:
            raise RoundedOffError(
                f"subtracting rows has left a relative error of {self.error:.1e}",
                where=path,
                remedy="compute it anew",
            )


def _tiles_cut_at(size: int, plan: GramPlan) -> Iterator[Tile]:
    old = [each.columns for each in replace(plan, size=size).tiles() if each.rows.start == 0]
    new = range(size, plan.size, plan.tile_size)
    cuts = [*old, *(range(start, min(start + plan.tile_size, plan.size)) for start in new)]
    for place, rows in enumerate(cuts):
        for columns in cuts[place:]:
            yield Tile(rows, columns)


def _slice(indices: range) -> slice:
    return slice(indices.start, indices.stop)
