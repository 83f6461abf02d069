"""Two sketches of half the length in one store of features: their difference is an error bar.

Adding the halves of a projected feature gives the projection of the same gradient to k / 2
dimensions, and so does subtracting them: every entry of the gradient is in both, with signs that
are independent. Products of either are unbiased, their errors are uncorrelated and of the same
size, and the mean of both is the product of the whole features. The standard error of a score
from k dimensions is therefore half the difference of the scores from the two halves. It has one
degree of freedom: rough for a single score, right in the mean square over many.

(The halves taken by themselves would each see a random half of the gradient's entries, and their
errors would not be independent.)

Random Fourier features are halved by their frequencies, which are independent, each with its
cosine and its sine: again the mean of the products of both halves is that of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.names import FOURIER
from dtrak_stream.gram.file import Gram
from dtrak_stream.gram.plan import plan_on
from dtrak_stream.gram.run import GramRun
from dtrak_stream.gram.update import bring_up_to_date
from dtrak_stream.projectors.table import PROJECTORS
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.reader import Features, FeatureStore
from dtrak_stream.store.row_set import Rows
from dtrak_stream.store.sample_ids import StoreIds
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.progress import say

HALVES = {"sum": 1.0, "difference": -1.0}
_PROJECTORS = tuple(name for name, kind in PROJECTORS.items() if kind.has_halves)


class HalfSketch(FeatureStore):
    """A store seen through the sum or the difference of the halves of each feature.

    Of random Fourier features, those are the first and the second half of the frequencies.

    Parameters
    ----------
    store
        Features of length k.
    half
        `sum` or `difference`.

    Raises
    ------
    ConfigurationError
        If its features are no random projection, or k has no halves.
    """

    def __init__(self, store: FeatureStore, half: str) -> None:
        whole = store.fingerprint
        refuse_without_halves(whole.projector, whole.proj_dim)
        fingerprint = replace(
            whole, proj_dim=whole.proj_dim // 2, projector=f"{whole.projector} ({half} of halves)"
        )
        super().__init__(StoreLayout(store.layout.root, fingerprint, store.layout.history))
        self._whole, self._half = store, half
        self._sign, self._is_fourier = HALVES[half], FOURIER in whole.projector

    @property
    def stored(self) -> FeatureStore:
        """Return the store of the whole features."""
        return self._whole

    def of_stored(self, features: Features) -> Features:
        """Return what whole features (n, k) stand for: (n, k / 2)."""
        return self._folded(features)

    def blocks_of(self, rows: range) -> Iterator[tuple[range, FloatArray]]:
        """Yield (rows, features) of consecutive rows: features are (len(rows), k / 2) float32."""
        for part, features in self._whole.blocks_of(rows):
            yield part, self._folded(features)

    def rows(self, rows: range) -> FloatArray:
        """Return the features of consecutive rows: (len(rows), k / 2) float32."""
        return self._folded(self._whole.rows(rows))

    def earlier(self, state: str) -> FeatureStore | None:
        """Return the half of the store as it was when `state` was its state."""
        halves = (
            HalfSketch(FeatureStore(then), self._half) for then in self._whole.layout.earlier()
        )
        return next((half for half in halves if half.layout.state == state), None)

    def picked(self, rows: Rows) -> Iterator[FloatArray]:
        """Yield the features of some rows, in ascending order, (n, k / 2) float32 at a time."""
        for features in self._whole.picked(rows):
            yield self._folded(features)

    def usable(self) -> NDArray[np.bool_]:
        """Return which rows are samples with a feature: (N,)."""
        return self._whole.usable()

    @property
    def ids(self) -> StoreIds:
        """Return the ids of all rows."""
        return self._whole.ids

    def shard(self, shard: int) -> Any:
        """Map a shard of the whole features."""
        return self._whole.shard(shard)

    def stored_shard(self, shard: int) -> Any:
        """Map a shard of the whole features as it was written."""
        return self._whole.stored_shard(shard)

    def _joined(self, name: str, dtype: type[np.generic]) -> Any:
        return self._whole._joined(name, dtype)

    def _folded(self, features: Features) -> Features:
        if self._is_fourier:
            quarters = features.reshape(len(features), 2, 2, -1)  # (n, cosine or sine, half, k / 4)
            half = quarters[:, :, 0 if self._sign > 0 else 1]
            return half.reshape(len(features), -1) * math.sqrt(2)  # (n, k / 2)
        first, second = features[:, : self.proj_dim], features[:, self.proj_dim :]
        return first + self._sign * second  # (n, k / 2)


def refuse_without_halves(projector: str, dim: int) -> None:
    """Refuse error bars for features that are not two independent projections.

    Raises
    ------
    ConfigurationError
        Naming the projector.
    """
    halved_by = 4 if FOURIER in projector else 2
    has_halves = FOURIER in projector or projector in _PROJECTORS
    if not has_halves or dim % halved_by:
        other = (
            f"featurize with --projector {_PROJECTORS[0]}, or " if projector in PROJECTORS else ""
        )
        raise ConfigurationError(
            f"features of the projector {projector} with k = {dim} have no two independent halves",
            where="--error-bars",
            remedy=f"{other if projector in PROJECTORS else ''}leave --error-bars out",
        )


def half_gram(
    store: HalfSketch, half: str, whole_gram: Path, *, memory_limit: int, visible: bool
) -> Gram:
    """Return the Gram matrix of a half, beside that of the whole; compute it, resumably.

    Raises
    ------
    FingerprintMismatchError
        If that of another store lies there.
    """
    out = whole_gram.with_name(f"{whole_gram.stem}.half-{half}.h5")
    outdated = out.exists() and Gram.open(out).is_of_earlier(store)
    if out.exists() and not outdated:
        gram = Gram.open(out)
        gram.refuse_other(store.layout.state)
        return gram
    say(f"{out}: Gram matrix for error bars")
    with connect() as cluster:
        plan = plan_on(cluster, store, "auto", memory_limit=memory_limit)
        if outdated and bring_up_to_date(Gram.open(out), store, plan):
            return Gram.open(out)
        GramRun(store, plan, cluster, out, visible).run()
    return Gram.open(out)
