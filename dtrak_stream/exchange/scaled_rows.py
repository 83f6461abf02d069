"""Features to import, scaled, named, and checked from the first row to the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import InputError
from dtrak_stream.exchange.feature_array import FeatureArray
from dtrak_stream.exchange.options import RowRules
from dtrak_stream.exchange.sample_ids import IdsOf
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.progress import progress

_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ScaledRows:
    """The features as they go into the store.

    Attributes
    ----------
    array
        The features as they are on disk.
    factor
        What they are multiplied by.
    ids
        Names the samples.
    """

    array: FeatureArray
    factor: float
    ids: IdsOf

    def block(self, start: int, stop: int) -> FloatArray:
        """Return samples [start, stop): (stop - start, k) float32, scaled."""
        with np.errstate(over="ignore"):  # what is too large becomes inf, which is found
            return (self.array.block(start, stop) * self.factor).astype(np.float32)

    def check(self, rules: RowRules, *, visible: bool) -> str:
        """Read all rows once, and return a hash of them and their ids: 32 hexadecimal digits.

        Raises
        ------
        InputError
            Naming the first row that holds NaN or inf, or nothing but zeros, unless `rules`
            allow it.
        """
        # two, so that the hash does not depend on where blocks are cut
        names, numbers = xxhash.xxh3_128(), xxhash.xxh3_128()
        with progress(
            len(self.array), description="checking features", unit="row", visible=visible
        ) as bar:
            for start, stop in self._cuts():
                features = self.block(start, stop)
                self._require_usable(features, start, rules)
                names.update("".join(f"{name}\0" for name in self.ids(start, stop)).encode())
                numbers.update(features.data.cast("B"))
                bar.update(stop - start)
        return xxhash.xxh3_128_hexdigest(names.digest() + numbers.digest())

    def _cuts(self) -> Iterator[tuple[int, int]]:
        step = max(1, _BLOCK_BYTES // (8 * self.array.used_dim))
        for start in range(0, len(self.array), step):
            yield start, min(start + step, len(self.array))

    def _require_usable(self, features: FloatArray, start: int, rules: RowRules) -> None:
        length = np.linalg.norm(features.astype(np.float64), axis=1)  # (rows, k) -> (rows,)
        if rules.bad_rows == "refuse":
            bad = ~(length <= np.finfo(np.float32).max)  # True for NaN and inf too
            self._refuse_first(bad, start, "holds NaN or inf", "--bad-rows quarantine")
        if rules.zero_rows == "refuse":
            what = "is zero throughout, as in a memory map that was never finished"
            self._refuse_first(length == 0, start, what, "--zero-rows keep")

    def _refuse_first(self, found: NDArray[np.bool_], start: int, what: str, flag: str) -> None:
        if not found.any():
            return
        sample = start + int(found.argmax())
        (name,) = self.ids(sample, sample + 1)
        path, row = self.array.place(sample)
        raise InputError(
            f"row {row} ({name}) {what}",
            where=path,
            remedy=f"compute it again, or import the others with {flag}"
            if "bad" in flag
            else f"compute it again, or import it as it is with {flag}",
        )
