"""Checksums of a scores file: written when all of it is there, compared when it is verified.

HDF5 protects its own headers, and neither numbers nor texts. Each data set has an attribute
`checksum`, the xxh3-128 of its bytes; that of the file is over all other attributes, those of the
groups of a list of lambdas included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.scoring.scores_layout import WRITE_AGAIN, damping_names, open_scores, plain

CHECKSUM = "checksum"
"""Attribute of the file, and of each data set."""
_HASHED_BYTES = 2**20  # at a time


def write_checksums(file: h5py.File) -> None:
    """Give a scores file that is otherwise finished its checksums; each data set is read once."""
    for _, dataset in _data_sets(file):
        dataset.attrs[CHECKSUM] = _checksum(dataset)
    file.attrs[CHECKSUM] = _checksum_of_attributes(file)


def refuse_flipped(path: Path) -> bool:
    """Refuse a file that is not what was written; return False if it has no checksums to tell.

    Memory does not depend on its size.

    Raises
    ------
    CorruptFileError
        Naming the first data set that is not what it was, or that alone has no checksum; or the
        attributes.
    InputError
        If the file cannot be read.
    """
    with open_scores(path) as file:
        data_sets = list(_data_sets(file))
        stored = {name: dataset.attrs.get(CHECKSUM) for name, dataset in data_sets}
        of_attributes = file.attrs.get(CHECKSUM)
        if of_attributes is None and not any(stored.values()):
            return False
        for name, dataset in data_sets:
            _require(stored[name], _checksum(dataset), name, path)
        _require(of_attributes, _checksum_of_attributes(file), "its attributes", path)
    return True


def _require(stored: Any, found: str, name: str, path: Path) -> None:
    if stored is None or plain(stored) != found:
        what = "without a checksum" if stored is None else "not what its checksum says"
        raise CorruptFileError(f"{name}: {what}", where=path, remedy=WRITE_AGAIN)


def _data_sets(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yield all data sets by their names, those of each lambda of a list after the others."""
    for group in (file, *(file[name] for name in damping_names(file))):
        for name in sorted(group):
            if isinstance(group[name], h5py.Dataset):
                yield group[name].name.strip("/"), group[name]


def _checksum(dataset: Any) -> str:
    digest = xxhash.xxh3_128(f"{dataset.dtype.str}{dataset.shape}".encode())
    for piece in _pieces(dataset):
        digest.update(np.ascontiguousarray(dataset[piece]).view(np.uint8).data)
    return digest.hexdigest()


def _pieces(dataset: Any) -> Iterator[tuple[slice, ...]]:
    """Yield places that cover a data set (n,) or (n, m) in the order of its bytes."""
    length, *columns = dataset.shape
    width = columns[0] if columns else 1
    cells = max(1, _HASHED_BYTES // dataset.dtype.itemsize)
    rows = max(1, cells // max(1, width))
    for row in range(0, length, rows):
        for column in range(0, width, cells):
            both = slice(row, row + rows), slice(column, column + cells)
            yield both[: 1 + len(columns)]


def _checksum_of_attributes(file: h5py.File) -> str:
    told = {
        group.name: {name: plain(value) for name, value in group.attrs.items() if name != CHECKSUM}
        for group in (file, *(file[name] for name in damping_names(file)))
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(told, sort_keys=True).encode())
