"""Checking a Gram matrix against the store it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.gram import Gram
from dtrak_stream.verification.run_stores import RunStores

_ASYMMETRY = 1e-9  # of the largest entry; both halves of the matrix are one number written twice


def verify_gram(path: Path, stores: RunStores) -> str:
    """Read a Gram matrix; return one line about it.

    Raises
    ------
    FingerprintMismatchError
        If it belongs to no store of the run.
    CorruptFileError
        If it is damaged, or no Gram matrix of its store.
    """
    gram = Gram.open(path)
    matrix = gram.matrix()
    store = stores.of_gram(gram.fingerprint, path)
    size = store.proj_dim if gram.form == "primal" else len(store)
    problem = ""
    if gram.shape != (size, size):
        problem = f"has shape {gram.shape}, {gram.form} wants ({size}, {size})"
    elif (matrix.diagonal() < 0).any():
        problem = "has a negative number on its diagonal"
    elif not _symmetric(matrix):
        problem = "is not symmetric"
    if problem:
        remedy = "remove it and run dtrak-stream gram again"
        raise CorruptFileError(problem, where=path, remedy=remedy)
    seen = " by halves, for error bars" if gram.fingerprint in stores.halves else ""
    return f"{gram.form}, {size:,} x {size:,}, of {store.layout.root.name}{seen}"


def _symmetric(matrix: NDArray[np.float64]) -> bool:
    largest = float(np.abs(matrix.diagonal()).max(initial=0.0))
    return all(  # row by row: a transposed copy may not fit
        np.allclose(row, column, rtol=0, atol=_ASYMMETRY * largest)
        for row, column in zip(matrix, matrix.T, strict=True)
    )
