"""A folder for what a benchmark makes, gone when it is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtrak_stream.errors import InputError


@contextmanager
def made_folder(prefix: str, work: Path | None) -> Iterator[Path]:
    """Yield a new folder in `work`, which is made where it is not there, and remove the new one.

    Parameters
    ----------
    prefix
        What its name begins with.
    work
        Where it lies; None for the system's folder for temporary files.

    Raises
    ------
    InputError
        If `work` cannot be a folder: it, or a part of its path, is a file.
    """
    if work is not None:
        try:
            work.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(
                "not a folder", where=f"--work {work}", remedy="name a folder, there or not yet"
            ) from error
    with tempfile.TemporaryDirectory(prefix=prefix, dir=work) as folder:
        yield Path(folder)
