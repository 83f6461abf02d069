"""The file that holds a Gram matrix: written tile by tile, read in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xxhash

from dtrak_stream.errors import (
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
    refuse_differences,
)
from dtrak_stream.gram.plan import GramForm, GramPlan, Tile
from dtrak_stream.gram.products import Arithmetic, Matrix
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.destinations import FileKind, holds_hdf5
from dtrak_stream.support.device import device_name
from dtrak_stream.support.durable import remove_partials_of
from dtrak_stream.support.hdf5 import new_hdf5
from dtrak_stream.support.hdf5_members import refuse_foreign_members
from dtrak_stream.support.obstacles import refuse_unavailable

ROW_BLOCK_BYTES = 64 * 2**20
_HASHED_BYTES = 2**18  # at a time
GRAM_FILE = FileKind(
    "a Gram matrix", "dtrak-stream gram", holds_hdf5("gram", attributes=("form", "fingerprint"))
)


@dataclass(frozen=True)
class Gram:
    """The (d, d) matrix of a Gram file, never in memory as a whole unless asked for.

    Attributes
    ----------
    path
        The file.
    shape
        (d, d).
    form
        Primal, Phi^T Phi with d = k, or dual, Phi Phi^T with d = N.
    fingerprint
        State of the store it was computed from: `StoreLayout.state`.
    tf32
        Whether factors of its products were cut to 11 bits.
    """

    path: Path
    shape: tuple[int, ...]
    form: GramForm
    fingerprint: str
    tf32: bool = False

    @classmethod
    def open(cls, path: Path) -> Gram:
        """Look at a file.

        Raises
        ------
        InputError
            If there is no such file.
        CorruptFileError
            If it cannot be read.
        """
        with _opened(path) as file:
            attributes = file.attrs
            known = attributes["form"], attributes["fingerprint"]
            return cls(path, file["gram"].shape, *known, bool(attributes.get("tf32", False)))

    @property
    def size(self) -> int:
        """Return d."""
        return self.shape[0]

    @property
    def rows_at_a_time(self) -> int:
        """Return how many rows `blocks` gives at a time."""
        return max(1, min(self.size, ROW_BLOCK_BYTES // (8 * max(1, self.size))))

    def refuse_other(
        self, fingerprint: str, form: GramForm | None = None, *, tf32: bool | None = None
    ) -> None:
        """Refuse to be the Gram matrix of the store in this state, unless it is.

        Raises
        ------
        FingerprintMismatchError
            If its fingerprint, or its form or its products where they are asked for, is another.
        """
        refuse_differences(
            (
                ("Gram matrix: fingerprint", self.fingerprint, fingerprint),
                ("Gram matrix: form", self.form, form or self.form),
                ("Gram matrix: tf32", self.tf32, self.tf32 if tf32 is None else tf32),
            ),
            where=self.path,
            remedy="it belongs to another store or option: give another file (or --run), "
            "or move it away and run dtrak-stream gram again",
        )

    def refuse_earlier(self, store: FeatureStore) -> None:
        """Refuse to stand for a store that was changed since.

        Raises
        ------
        FingerprintMismatchError
            If it is of the store as it was before a change.
        """
        if self.is_of_earlier(store):
            raise FingerprintMismatchError(
                "Gram matrix: fingerprint",
                self.fingerprint,
                store.layout.state,
                where=self.path,
                remedy=f"it is of {store.layout.root} before samples were appended or removed: run "
                "dtrak-stream gram with it as --out, which brings it up to date",
            )

    def is_of_earlier(self, store: FeatureStore) -> bool:
        """Return whether it is of a store as it was before it was changed."""
        return store.earlier(self.fingerprint) is not None

    def rows(self, rows: range) -> Matrix:
        """Return consecutive rows: (len(rows), d) float64; raises as `part`."""
        return self.part(rows, range(self.size))

    def part(self, rows: range, columns: range) -> Matrix:
        """Return a rectangle of consecutive rows and columns: (len(rows), len(columns)) float64.

        Raises
        ------
        CorruptFileError
            If the file cannot be read, or it holds NaN or inf.
        """
        with _opened(self.path) as file:
            return self._checked(file, rows, columns)

    def blocks(self) -> Iterator[tuple[range, Matrix]]:
        """Yield (rows, (len(rows), d) float64), in order, all rows once; raises as `part`."""
        with _opened(self.path) as file:
            for start in range(0, self.size, self.rows_at_a_time):
                rows = range(start, min(start + self.rows_at_a_time, self.size))
                yield rows, self._checked(file, rows, range(self.size))

    def refuse_flipped(self) -> None:
        """Refuse a file whose numbers are not those that were written.

        Raises
        ------
        CorruptFileError
            If its checksum does not hold; a file without one is taken as it is.
        """
        with _opened(self.path) as file:
            if file.attrs.get("checksum") not in (None, _checksum(file["gram"])):
                raise _damaged(self.path, "its numbers do not match its checksum")

    def matrix(self) -> Matrix:
        """Return the whole matrix: (d, d) float64; no memory is needed beside it but a block."""
        whole = np.empty(self.shape)
        for rows, block in self.blocks():
            whole[rows.start : rows.stop] = block
        return whole

    def _checked(self, file: Any, rows: range, columns: range) -> Matrix:
        block: Matrix = file["gram"][rows.start : rows.stop, columns.start : columns.stop]
        if not np.isfinite(block).all():
            raise _damaged(self.path, "holds NaN or inf")
        return block


def write_gram(
    path: Path,
    plan: GramPlan,
    store: FeatureStore,
    tiles: Iterable[tuple[Tile, Matrix]],
    arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 (frozen)
) -> None:
    """Write a Gram matrix, tile by tile, durably.

    Parameters
    ----------
    path
        HDF5 file: `gram` (d, d) float64; attributes form, fingerprint, samples, proj_dim, device,
        tf32, and checksum, the xxh3-128 of all numbers.
    plan, store
        What was computed, of what.
    tiles
        The tiles of the upper triangle with their contents.
    arithmetic
        How they were computed.

    Raises
    ------
    DiskFullError
        If there is no room; nothing is left under the name of the file.
    """
    remove_partials_of(path)
    with new_hdf5(path) as new:
        file = new.file
        gram = file.create_dataset("gram", (plan.size, plan.size), np.float64)
        for tile, contents in tiles:
            rows = slice(tile.rows.start, tile.rows.stop)
            columns = slice(tile.columns.start, tile.columns.stop)
            gram[rows, columns] = contents
            if not tile.on_diagonal:
                gram[columns, rows] = contents.T
            new.check()
        file.attrs["form"] = plan.form
        file.attrs["fingerprint"] = store.layout.state
        file.attrs["samples"] = len(store)
        file.attrs["proj_dim"] = store.proj_dim
        file.attrs["device"] = device_name(torch.device(arithmetic.device))
        file.attrs["tf32"] = arithmetic.tf32
        new.check()  # what could not be written cannot be read
        file.attrs["checksum"] = _checksum(gram)


def _checksum(gram: Any) -> str:
    digest = xxhash.xxh3_128()
    rows = max(1, _HASHED_BYTES // (8 * max(1, gram.shape[1])))
    for start in range(0, gram.shape[0], rows):
        digest.update(np.ascontiguousarray(gram[start : start + rows]).data.cast("B"))
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        what = "is no regular file" if path.exists() else "no such file"
        raise InputError(what, where=path, remedy="run dtrak-stream gram first")
    try:
        with h5py.File(path, "r") as file:
            refuse_foreign_members(file, path)
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        refuse_unavailable(path, error)
        raise _damaged(path, f"cannot be read ({error})") from error


def _damaged(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(what, where=path, remedy="move it away and run dtrak-stream gram again")
