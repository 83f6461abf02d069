"""What is kept of each retrained model: its losses, on disk as soon as they are measured.

OUT.work/fingerprint.json        recipe, images and subsets; written first
OUT.work/KEY/fingerprint.json    one set of queries and its noise
OUT.work/KEY/rows/               losses of each model, named by subset and seed
OUT.work/subsets/0003.npy        image numbers of a subset
OUT.work/models/0003-01/         a model that is being trained, or is kept
OUT.work/claims/                 claims on models, and one of each run that goes on
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.evaluation.subsets import Mask
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.durable import remove_partials, write_npy
from dtrak_stream.training.fingerprint import (
    FINGERPRINT_FILE,
    Fingerprint,
    begin_folder,
    read_fingerprint,
    refuse_other,
)


@dataclass(frozen=True)
class ModelName:
    """One retrained model."""

    subset: int
    """Number of its subset."""
    seed: int
    """Its training seed."""

    def __str__(self) -> str:
        return f"{self.subset:04d}-{self.seed:02d}"


@dataclass(frozen=True)
class ModelRow:
    """What is kept of a model for one set of queries.

    Attributes
    ----------
    losses
        (Q,) float64, NaN for a query that could not be read.
    left_out
        (n,) int64, training images that could not be used.
    """

    losses: NDArray[np.float64]
    left_out: NDArray[np.int64]


@dataclass(frozen=True)
class WorkFolder:
    """The folder beside a truth file.

    Attributes
    ----------
    path
        OUT.work.
    """

    path: Path

    @classmethod
    def beside(cls, truth: Path) -> WorkFolder:
        """Return the work folder of a truth file."""
        return cls(truth.with_name(truth.name + ".work"))

    def refuse_foreign(self) -> None:
        """Refuse a folder that holds what no command of this package began.

        Raises
        ------
        InputError
            Naming something that is there.
        """
        refuse_foreign_folder(self.path, FINGERPRINT_FILE, flag="--out, whose work lies in")

    def claim(self, fingerprint: Fingerprint, queries: dict[str, Fingerprint]) -> None:
        """Take the folder for these subsets and sets of queries, or refuse.

        Raises
        ------
        FingerprintMismatchError
            If the folder was begun with others.
        InputError
            If it holds what no command of this package began.
        """
        self.refuse_foreign()
        parts = {self.path: fingerprint} | {self.path / key: queries[key] for key in queries}
        for folder, wanted in parts.items():
            stored = read_fingerprint(folder)
            if stored is not None:
                refuse_other(stored, wanted, where=folder)
        for folder, wanted in parts.items():
            folder.mkdir(parents=True, exist_ok=True)
            remove_partials(folder)
            begin_folder(folder, wanted)
        for key in queries:
            self._rows(key).folder.mkdir(exist_ok=True)
            remove_partials(self._rows(key).folder)

    def save_row(self, key: str, name: ModelName, row: ModelRow) -> None:
        """Keep a row, on disk before this returns."""
        self._rows(key).save(str(name), losses=row.losses, left_out=row.left_out)

    def load_row(self, key: str, name: ModelName) -> ModelRow | None:
        """Return a row that was kept whole; None if there is none."""
        arrays = self._rows(key).load(str(name))
        return None if arrays is None else ModelRow(arrays["losses"], arrays["left_out"])

    def has_row(self, key: str, name: ModelName) -> bool:
        """Return whether a row is kept and whole."""
        return self.load_row(key, name) is not None

    def subset_file(self, number: int, mask: Mask) -> Path:
        """Return the file of the image numbers of a subset, written if it is not there."""
        path = self.path / "subsets" / f"{number:04d}.npy"
        if not path.exists():
            write_npy(path, np.flatnonzero(mask))
        return path

    def model_folder(self, name: ModelName) -> Path:
        """Return where a model is trained."""
        return self.models / str(name)

    def claim_file(self, name: ModelName) -> Path:
        """Return the file whose claim says that a model is worked on."""
        return self.path / "claims" / str(name)

    @property
    def models(self) -> Path:
        """Return the folder of all models."""
        return self.path / "models"

    def _rows(self, key: str) -> Checkpoints:
        return Checkpoints(self.path / key / "rows")
