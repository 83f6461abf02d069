"""Which training images each retrained model saw: index pickles of rows, as a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.index_pickle import read_index_pickle
from dtrak_stream.errors import InputError, first_few
from dtrak_stream.evaluation.subsets import Mask


@dataclass(frozen=True)
class TrainingIndex:
    """The rows of a data set that the training images are.

    Attributes
    ----------
    path
        Where they are listed.
    rows
        (N,) int64, in the order of the mask, each once.
    """

    path: Path
    rows: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> TrainingIndex:
        """Read an index pickle; raises `InputError` if that cannot be, or a row is there twice."""
        rows = read_index_pickle(path)
        _refuse_twins(rows, path)
        return cls(path, rows)

    def mask(self, subset: Path) -> Mask:
        """Return which of the rows (N,) a subset has.

        Raises
        ------
        InputError
            If it cannot be read, has a row twice, or one that is not among them.
        """
        chosen = read_index_pickle(subset)
        _refuse_twins(chosen, subset)
        others = np.setdiff1d(chosen, self.rows)
        if len(others):
            raise InputError(
                f"{len(others):,} of its rows are not in {self.path} "
                f"({first_few(others.tolist())})",
                where=subset,
                remedy="give the index of all training images that the subsets are of",
            )
        return np.isin(self.rows, chosen)


def subset_masks(index: TrainingIndex, folder: Path, numbers: Sequence[int]) -> Mask:
    """Return which rows each subset has, (M, N) bool.

    Raises
    ------
    InputError
        Saying how many files are missing and which; or as `TrainingIndex.mask`.
    """
    paths = [folder / f"sub-idx-{number}.pkl" for number in numbers]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(paths):,} subsets are missing ({first_few(missing)})",
            where=folder,
            remedy="give the folder of the subsets that the models were trained on, or name fewer "
            "by --subsets",
        )
    return np.stack([index.mask(path) for path in paths])


def _refuse_twins(rows: NDArray[np.int64], path: Path) -> None:
    values, counts = np.unique(rows, return_counts=True)
    twins = values[counts > 1]
    if len(twins):
        raise InputError(
            f"{len(twins):,} rows are there more than once ({first_few(twins.tolist())})",
            where=path,
            remedy="give an index that has each row once",
        )
