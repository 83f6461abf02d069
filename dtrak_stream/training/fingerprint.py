"""What a folder of results was begun with: written first, compared at every restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from dtrak_stream.errors import CorruptFileError, refuse_differences
from dtrak_stream.support.claims import alone_with
from dtrak_stream.support.durable import write_json

FINGERPRINT_FILE = "fingerprint.json"
Fingerprint = dict[str, Any]


def read_fingerprint(folder: Path) -> Fingerprint | None:
    """Return what `folder` was begun with; None if nothing was begun there.

    Raises
    ------
    CorruptFileError
        If the file is not the JSON that was written.
    """
    path = folder / FINGERPRINT_FILE
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise _unreadable(path, f"not readable as JSON ({error})") from error
    if not isinstance(stored, dict):
        raise _unreadable(path, "is not what a command begins a folder with")
    return cast(Fingerprint, stored)


def _unreadable(path: Path, what: str) -> CorruptFileError:
    remedy = "what the folder holds is left as it is: give another one"
    return CorruptFileError(what, where=path, remedy=remedy)


def begin_folder(folder: Path, fingerprint: Fingerprint) -> None:
    """Record what `folder` is begun with; of several at once, the first one's record stays.

    Raises
    ------
    FingerprintMismatchError
        If it was begun with something else, by an earlier command or just now by another process.
    """
    if read_fingerprint(folder) is None:
        with alone_with(folder / FINGERPRINT_FILE):
            if read_fingerprint(folder) is None:
                write_fingerprint(folder, fingerprint)
    refuse_other(read_fingerprint(folder) or {}, fingerprint, where=folder)


def write_fingerprint(folder: Path, fingerprint: Fingerprint) -> None:
    """Record what `folder` is begun with, for whoever holds the claim on that record."""
    write_json(folder / FINGERPRINT_FILE, fingerprint)


def refuse_other(stored: Fingerprint, requested: Fingerprint, *, where: object) -> None:
    """Refuse to continue what was begun as `stored` as `requested`.

    Raises
    ------
    FingerprintMismatchError
        Naming the first field that differs, and both values.
    """
    requested = json.loads(json.dumps(requested))
    names = sorted(stored.keys() | requested.keys())
    refuse_differences(
        ((name, stored.get(name), requested.get(name)) for name in names),
        where=where,
        remedy="give --out a new folder, or what this one was begun with",
    )
