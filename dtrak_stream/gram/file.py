"""The file that holds a Gram matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dtrak_stream.errors import CorruptFileError, FingerprintMismatchError, InputError
from dtrak_stream.gram.plan import GramForm, GramPlan, Tile
from dtrak_stream.gram.products import Matrix
from dtrak_stream.store import FeatureStore
from dtrak_stream.support.durable import durable_path


@dataclass(frozen=True)
class Gram:
    """A Gram matrix as read from its file.

    Attributes
    ----------
    matrix
        (d, d) float64: Phi^T Phi with d = k, or Phi Phi^T with d = N.
    form
        Which of the two.
    fingerprint
        Hash of the store it was computed from.
    """

    matrix: Matrix
    form: GramForm
    fingerprint: str


def write_gram(
    path: Path, plan: GramPlan, store: FeatureStore, tiles: Iterable[tuple[Tile, Matrix]]
) -> None:
    """Write a Gram matrix, tile by tile, durably.

    Parameters
    ----------
    path
        HDF5 file: `gram` (d, d) float64; attributes form, fingerprint, samples, proj_dim.
    plan, store
        What was computed, of what.
    tiles
        The tiles of the upper triangle with their contents.
    """
    with durable_path(path) as partial, h5py.File(partial, "w", libver="latest") as file:
        gram = file.create_dataset("gram", (plan.size, plan.size), np.float64)
        for tile, contents in tiles:
            rows = slice(tile.rows.start, tile.rows.stop)
            columns = slice(tile.columns.start, tile.columns.stop)
            gram[rows, columns] = contents
            if not tile.on_diagonal:
                gram[columns, rows] = contents.T
        file.attrs["form"] = plan.form
        file.attrs["fingerprint"] = store.fingerprint.hash()
        file.attrs["samples"] = len(store)
        file.attrs["proj_dim"] = store.proj_dim


def read_gram(path: Path) -> Gram:
    """Read a Gram matrix into memory.

    Raises
    ------
    InputError
        If there is no such file.
    CorruptFileError
        If it cannot be read, or holds NaN or inf.
    """
    with opened_gram(path) as file:
        gram = Gram(file["gram"][()], file.attrs["form"], file.attrs["fingerprint"])
    if not np.isfinite(gram.matrix).all():
        raise damaged_gram(path, "holds NaN or inf")
    return gram


def refuse_other_gram(path: Path, fingerprint: str, form: GramForm | None = None) -> None:
    """Refuse a Gram matrix that is not that of the store with this fingerprint.

    Raises
    ------
    FingerprintMismatchError
        If its fingerprint, or its form where one is asked for, is another.
    """
    with opened_gram(path) as file:
        stored = {name: file.attrs[name] for name in ("fingerprint", "form")}
    wanted = {"fingerprint": fingerprint, "form": form or stored["form"]}
    for name, value in wanted.items():
        if stored[name] != value:
            raise FingerprintMismatchError(
                f"Gram matrix: {name}",
                stored[name],
                value,
                where=path,
                remedy="it belongs to another store or option: give another file (or --run), "
                "or remove it and run tools/gram.py again",
            )


@contextmanager
def opened_gram(path: Path) -> Iterator[Any]:
    """Open a Gram file for reading; raises as `read_gram`."""
    if not path.is_file():
        raise InputError("no such file", where=path, remedy="run tools/gram.py first")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise damaged_gram(path, f"cannot be read ({error})") from error


def damaged_gram(path: Path, what: str) -> CorruptFileError:
    """Return the refusal of a file that is not what it was when it was written."""
    return CorruptFileError(what, where=path, remedy="remove it and run tools/gram.py again")
