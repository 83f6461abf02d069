"""Relative residuals of candidates and held-out images: computed resumably, kept in a small file.

The file lies beside the store of the candidates' residuals. It names the stores it is of: after any
of them changed, or with another K, it is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xxhash

from dtrak_stream.errors import CorruptFileError, InterruptedRunError
from dtrak_stream.scoring.neighbours import Block, Neighbourhood, StoredPlaces, rows_of_block
from dtrak_stream.seen.detection import Residuals
from dtrak_stream.seen.judgement import residuals_in
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.claims import alone_with
from dtrak_stream.support.destinations import FileKind, holds_hdf5
from dtrak_stream.support.durable import remove_partials_of
from dtrak_stream.support.hdf5 import new_hdf5
from dtrak_stream.support.hdf5_members import refuse_foreign_members
from dtrak_stream.support.obstacles import refuse_unavailable
from dtrak_stream.support.progress import progress, say

RELATIVE = "relative_residuals"
"""Data set (N + M,) float64: of the candidates, then of the held-out images."""
RELATIVE_FILE = FileKind(
    "a file of relative residuals",
    "dtrak-stream score --neighbours",
    holds_hdf5(RELATIVE, attributes=("neighbours", "candidates")),
)
OF_STORES = (
    "residuals_fingerprint",
    "held_out_fingerprint",
    "pixels_fingerprint",
    "held_out_pixels_fingerprint",
)
"""Attributes that name the stores it is of."""
_REMEDY = "move it away and run the same command again"


def relative_file(residuals: Path) -> Path:
    """Return where the relative residuals lie, by the store of the candidates' residuals."""
    return residuals.with_name(f"{residuals.name}.relative.h5")


@dataclass(frozen=True)
class RelativeResiduals:
    """What residuals are relative to.

    Attributes
    ----------
    residuals, pixels
        The stores of the candidates and of the held-out images.
    neighbours
        K.
    memory_limit
        Bytes for arrays.
    device
        Where products are computed.
    visible
        Whether to show a progress bar.
    """

    residuals: tuple[FeatureStore, FeatureStore]
    pixels: tuple[FeatureStore, FeatureStore]
    neighbours: int
    memory_limit: int
    device: torch.device
    visible: bool

    @property
    def path(self) -> Path:
        """Return where the result is kept."""
        return relative_file(self.residuals[0].layout.root)

    @property
    def of_stores(self) -> dict[str, str]:
        """Return which stores, as they are now, it is of."""
        states = (store.layout.state for store in (*self.residuals, *self.pixels))
        return dict(zip(OF_STORES, states, strict=True))

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the result: attributes of the file, and of unfinished work."""
        return {
            **self.of_stores,
            "neighbours": self.neighbours,
            "candidates": len(self.residuals[0]),
        }

    def found(self) -> tuple[Residuals, Residuals]:
        """Return those of the candidates (N,) and of the held-out images (M,); NaN for none.

        Computed unless the file is there; an interrupted call is continued. Of several calls at
        once, one computes.

        Raises
        ------
        InputError
            If something else lies where the file goes, or K is not less than the number of images.
        CorruptFileError
            If the file is damaged.
        MemoryLimitError
            If not even one tile of products fits.
        InterruptedRunError
            On Ctrl-C; finished blocks are kept.
        """
        self.refuse_other()
        if not self._is_finished():
            Checkpoints.refuse_foreign(self.path)
            with alone_with(self.path):
                if not self._is_finished():  # whoever was waited for may have written it
                    self._compute()
        values = read_relative(self.path)[1]
        count = len(self.residuals[0])
        return values[:count], values[count:]

    def refuse_other(self) -> None:
        """Refuse what lies where the file goes and is no such file; raises as `FileKind`."""
        RELATIVE_FILE.refuse_other(self.path, flag="--residuals", kept=True)

    def _is_finished(self) -> bool:
        if not self.path.exists():
            return False
        attributes, _ = read_relative(self.path)
        for name, value in self.identity.items():
            if attributes.get(name) != value:
                say(f"{self.path}: was made with another {name}; finding neighbours again")
                return False
        return True

    def _compute(self) -> None:
        places = tuple(StoredPlaces(store) for store in self.pixels)
        images = Neighbourhood(places, self._logarithms(), self.neighbours)
        rows = rows_of_block(places, self.neighbours, memory_limit=self.memory_limit)
        blocks = images.blocks(rows)
        cut = {"rows": rows, "device": self.device.type}
        checkpoints = Checkpoints.beside(self.path, self.identity | cut)
        try:
            self._compute_missing(images, blocks, checkpoints)
        except KeyboardInterrupt as interrupt:
            kept = f"finished blocks of neighbours are kept in {checkpoints.folder}"
            raise InterruptedRunError(kept) from interrupt
        told = {"what": "a finished block", "remedy": "it computes that block anew"}
        parts = [checkpoints.require(_name(block), **told)["relative"] for block in blocks]
        write_relative(self.path, np.concatenate(parts), self.identity)
        checkpoints.discard()

    def _logarithms(self) -> Residuals:
        """Return the logarithm of each residual, NaN where it or the place is missing: (N + M,)."""
        known = []
        for residuals, pixels in zip(self.residuals, self.pixels, strict=True):
            values = np.log(residuals_in(residuals))
            values[~pixels.usable()] = np.nan
            known.append(values)
        return np.concatenate(known)

    def _compute_missing(
        self, images: Neighbourhood, blocks: list[Block], checkpoints: Checkpoints
    ) -> None:
        missing = [block for block in blocks if checkpoints.load(_name(block)) is None]
        pieces = images.tiles_of_columns
        with progress(
            pieces * len(blocks),
            done=pieces * (len(blocks) - len(missing)),
            description="finding neighbours",
            unit="piece",
            visible=self.visible,
        ) as bar:
            for block in missing:
                relative = images.relative(block, self.device, bar.update)
                checkpoints.save(_name(block), relative=relative)


def read_relative(path: Path) -> tuple[dict[str, Any], Residuals]:
    """Return the attributes of a file and all its numbers, (N + M,).

    Raises
    ------
    CorruptFileError
        If it cannot be read, or is not what its checksum says.
    """
    try:
        with h5py.File(path, "r") as file:
            refuse_foreign_members(file, path)
            attributes, values = dict(file.attrs), file[RELATIVE][:]
    except (OSError, KeyError, RuntimeError) as error:
        refuse_unavailable(path, error)
        raise CorruptFileError(f"cannot be read ({error})", where=path, remedy=_REMEDY) from error
    if attributes.pop("checksum", None) != _checksum(values, attributes):
        raise CorruptFileError("is not what its checksum says", where=path, remedy=_REMEDY)
    return attributes, values


def write_relative(path: Path, values: Residuals, attributes: dict[str, Any]) -> None:
    """Write relative residuals (N + M,), durably, with what they are of and a checksum."""
    remove_partials_of(path)
    with new_hdf5(path) as new:
        new.file[RELATIVE] = values
        new.file.attrs.update(attributes)
        new.check()
        new.file.attrs["checksum"] = _checksum(values, attributes)


def _checksum(values: Residuals, attributes: dict[str, Any]) -> str:
    told = repr([(name, str(attributes[name])) for name in sorted(attributes)])
    digest = xxhash.xxh3_128(told.encode())
    digest.update(np.ascontiguousarray(values, "<f8").view(np.uint8).data)
    return digest.hexdigest()


def _name(block: Block) -> str:
    return f"images-{block.first}"
