"""What a folder of results was begun with: written first, compared at every restart."""

from __future__ import annotations

from pathlib import Path

from dtrak_stream.support.durable import write_json
from dtrak_stream.support.records import Record, RecordKind

FINGERPRINT_FILE = "fingerprint.json"
Fingerprint = Record
_KIND = RecordKind(
    "is not what a command begins a folder with",
    if_unreadable="what the folder holds is left as it is: give another one",
    if_another="give --out a new folder, or what this one was begun with",
)


def read_fingerprint(folder: Path) -> Fingerprint | None:
    """Return what `folder` was begun with; None if nothing was begun there.

    Raises
    ------
    CorruptFileError
        If the file is not the JSON that was written.
    """
    return _KIND.read(folder / FINGERPRINT_FILE)


def begin_folder(folder: Path, fingerprint: Fingerprint) -> None:
    """Record what `folder` is begun with; of several at once, the first one's record stays.

    Raises
    ------
    FingerprintMismatchError
        If it was begun with something else, by an earlier command or just now by another process.
    """
    _KIND.begin(folder / FINGERPRINT_FILE, dict(sorted(fingerprint.items())), where=folder)


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
    names = sorted(stored.keys() | requested.keys())
    _KIND.refuse_other(stored, {name: requested.get(name) for name in names}, where=where)
