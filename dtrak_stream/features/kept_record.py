"""The records of what `--cache-latents` keeps: what rows are of, written before the first one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dtrak_stream.errors import CorruptFileError

FLAG = "--cache-latents"


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record; None if there is none.

    Raises
    ------
    CorruptFileError
        If it is not what was written.
    """
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise _unreadable(path, f"not readable as JSON ({error})") from error
    if not isinstance(stored, dict):
        raise _unreadable(path, "is no record of latents")
    return stored


def _unreadable(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(what, where=path, remedy=f"give another folder as {FLAG}")
