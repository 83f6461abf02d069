"""Whether a result can be written where the user wants it, found out before it is computed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dtrak_stream.errors import InputError


def require_folder(path: Path, *, flag: str) -> None:
    """Refuse a folder that files could not be written into; it need not be there, nor is made.

    Raises
    ------
    InputError
        If a file is in the way, or the place is not to be written to.
    """
    there = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        raise InputError(
            "is a file, not a folder" if there == path else f"cannot be made: {there} is no folder",
            where=f"{flag} {path}",
            remedy=f"give another place as {flag}",
        )
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(
            f"{there} cannot be written to ({str(error.strerror).lower()})",
            where=f"{flag} {path}",
            remedy=f"give another place as {flag}, or yourself the right to write there",
        ) from error


def require_file(path: Path, *, flag: str) -> None:
    """Refuse a file that could not be written: a folder is in the way, or as `require_folder`.

    Raises
    ------
    InputError
        Naming what is in the way.
    """
    if path.is_dir():
        raise InputError(
            "is a folder", where=f"{flag} {path}", remedy=f"give the name of a file as {flag}"
        )
    require_folder(path.parent, flag=flag)
