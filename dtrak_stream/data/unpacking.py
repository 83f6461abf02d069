"""Where the library datasets unpacks files to, and what it means if it cannot."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import xxhash

from dtrak_stream.data.source import brief, unreadable
from dtrak_stream.errors import DiskFullError, DtrakStreamError, InputError
from dtrak_stream.support.stamps import Stamping

_OWN_FOLDER = "dtrak_stream"
_LOGGER = "datasets.packaged_modules"  # what reads files of each kind
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def folder_for(files: Sequence[Path]) -> Path:
    """Return the folder in the cache of datasets where these files, as they are, are unpacked to.

    The library itself goes by names and modification times. Here a file that changed in any way
    has another stamp, so what was unpacked of it before is not met again.

    Raises
    ------
    InputError, DiskFullError
        If the cache cannot be written.
    OSError
        If a file is not there.
    """
    stamping = Stamping()
    for file in files:
        stamping.file(file.resolve())
    stamp = stamping.stamp()
    key = stamp.digest if stamp.settle() else _hash_of_contents(files)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / _OWN_FOLDER / key
    require_writable(folder)
    return folder


def require_writable(folder: Path) -> None:
    """Refuse a folder of the cache that cannot be made or written.

    Raises
    ------
    InputError, DiskFullError
        Naming the folder, and the variable that sets another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(folder) from error
        raise InputError(
            f"the cache of datasets cannot be written ({brief(error)})",
            where=folder,
            remedy="set HF_DATASETS_CACHE to a folder that can be written",
        ) from error


@contextlib.contextmanager
def saying_nothing_itself(*, bars: bool) -> Iterator[None]:
    """Let the library draw its bars or not, and log no failure that it raises as well."""
    logger = logging.getLogger(_LOGGER)
    level, drawn = logger.level, not datasets.are_progress_bars_disabled()
    logger.setLevel(logging.CRITICAL)
    if drawn and not bars:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if drawn and not bars:
            datasets.enable_progress_bars()


def why_not_loaded(error: Exception, where: object) -> DtrakStreamError:
    """Return the refusal of a data set for what the library, or pyarrow below it, has raised."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
        return _no_room(where)
    if isinstance(cause, OSError) and cause.errno is not None:
        return unreadable(cause.filename or where, cause)
    return InputError(
        f"is not a data set that can be read ({brief(cause)})",
        where=where,
        remedy="it may be empty, truncated or corrupt; fetch or write it again",
    )


def why_not_from_hub(error: Exception, where: str) -> DtrakStreamError:
    """Return the refusal of a data set of the hub that could not be had."""
    if "scripts are no longer supported" in str(error):
        return InputError(
            f"is made by a program, which datasets does not run ({brief(error)})",
            where=where,
            remedy="name a copy of it in parquet (many are on the hub), or save its images in a "
            "folder or FILE.parquet",
        )
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
        return _no_room(where)
    return InputError(
        f"cannot be had from the hub ({brief(error)})",
        where=where,
        remedy="check OWNER/NAME, its split and the network, or give a local folder or "
        "FILE.parquet",
    )


def _no_room(where: object) -> DiskFullError:
    return DiskFullError(
        "no room left to unpack it into the cache of datasets",
        where=where,
        remedy="set HF_DATASETS_CACHE to a folder on a larger disk",
    )


def _hash_of_contents(files: Sequence[Path]) -> str:
    """Return what stands for files whose times cannot be relied on."""
    digest = xxhash.xxh3_128()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, xxhash.xxh3_128).digest())
    return f"contents-{digest.hexdigest()}"
