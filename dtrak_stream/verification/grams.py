"""Checking a Gram matrix against the store it was made of, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.gram.file import Gram
from dtrak_stream.verification.run_stores import RunStores

_ASYMMETRY = 1e-9  # of the largest entry; both halves of the matrix are one number written twice
_TILE_BYTES = 16 * 2**20  # two are compared at a time


def verify_gram(path: Path, stores: RunStores) -> str:
    """Read a Gram matrix; return one line about it. Memory does not depend on its size.

    Raises
    ------
    FingerprintMismatchError
        If it belongs to no store of the run.
    CorruptFileError
        If it is damaged, or no Gram matrix of its store.
    """
    gram = Gram.open(path)
    store = stores.of_gram(gram.fingerprint, path)
    size = store.proj_dim if gram.form == "primal" else len(store)
    problem = _problem(gram, size)
    if problem:
        remedy = "move it away and run dtrak-stream gram again"
        raise CorruptFileError(problem, where=path, remedy=remedy)
    gram.refuse_flipped()
    seen = " by halves, for error bars" if gram.fingerprint in stores.halves else ""
    return f"{gram.form}, {size:,} x {size:,}, of {store.layout.root.name}{seen}"


def _problem(gram: Gram, size: int) -> str:
    """Return what is wrong with the matrix; nothing if it is one of `size` samples or numbers."""
    if gram.shape != (size, size):
        return f"has shape {gram.shape}, {gram.form} wants ({size}, {size})"
    diagonal = _diagonal(gram)
    if (diagonal < 0).any():
        return "has a negative number on its diagonal"
    largest = float(diagonal.max(initial=0.0))
    return "" if _is_symmetric(gram, _ASYMMETRY * largest) else "is not symmetric"


def _diagonal(gram: Gram) -> NDArray[np.float64]:
    """Return the diagonal: (d,)."""
    return np.concatenate([gram.part(rows, rows).diagonal() for rows in _cuts(gram.size)])


def _is_symmetric(gram: Gram, tolerance: float) -> bool:
    tiles = combinations_with_replacement(_cuts(gram.size), 2)
    return all(
        np.allclose(gram.part(rows, columns), gram.part(columns, rows).T, rtol=0, atol=tolerance)
        for rows, columns in tiles
    )


def _cuts(size: int) -> Iterator[range]:
    """Yield the rows, or columns, of each row of square tiles."""
    side = math.isqrt(_TILE_BYTES // 8)
    for start in range(0, size, side):
        yield range(start, min(start + side, size))
