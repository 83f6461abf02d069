"""Checking relative residuals against the stores they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.scoring.relative_residuals import OF_STORES, read_relative
from dtrak_stream.verification.run_stores import RunStores


def verify_relative(path: Path, stores: RunStores) -> str:
    """Read a file of relative residuals; return one line about it.

    Raises
    ------
    FingerprintMismatchError
        If it was made of a store that is not in the run.
    CorruptFileError
        If it is damaged, or has a number where its stores have none, or none where they have one.
    """
    attributes, values = read_relative(path)
    names = {name: str(attributes.get(name)) for name in OF_STORES}
    found = [stores.find(name, state, path) for name, state in names.items()]
    usable = [store.usable() for store in found]
    if [len(each) for each in usable[:2]] != [len(each) for each in usable[2:]]:
        raise _damaged(path, "its residuals and its pixels are of other images")
    expected = np.concatenate(usable[:2]) & np.concatenate(usable[2:])
    if not np.array_equal(np.isfinite(values), expected):
        raise _damaged(path, "has numbers of other images than its stores")
    ours, theirs = map(len, usable[:2])
    return (
        f"relative to {attributes['neighbours']:,} neighbours, {ours:,} + {theirs:,} residuals, "
        "checksum holds"
    )


def _damaged(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(
        what, where=path, remedy="move it away and run the command that wrote it again"
    )
