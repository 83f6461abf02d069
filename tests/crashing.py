"""Work in child processes, which die with SIGKILL at the n-th of their steps of some kind."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from dtrak_stream.support import durable
from dtrak_stream.support.claims import CLAIM_SUFFIX
from dtrak_stream.support.hdf5 import SteadyFile

Count = Callable[..., None]
"""Called at each step; at the last one it cuts the file that it is given in half, and dies."""
Steps = Callable[[Count], None]
"""Lets steps of some kind be counted from now on."""


def finishes_before_step(work: Callable[[], object], step: int, of: Steps | None = None) -> bool:
    """Run `work` in a forked child that dies at its `step`-th step of some kind: a durable one.

    Returns
    -------
    bool
        True if the work was over before that step.
    """

    def dying() -> None:
        (of or durable_steps)(_death_at(step))
        work()

    child = start_beside(dying)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def start_beside(work: Callable[[], object]) -> int:
    """Run `work` in a forked child; return its process id. It ends with 0, or 1 if that failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of fork beside threads
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def _death_at(step: int) -> Count:
    remaining = step

    def count(cut: Path | None = None) -> None:
        nonlocal remaining
        if remaining == 0:
            if cut is not None and cut.is_file():
                os.truncate(cut, cut.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        remaining -= 1

    return count


def durable_steps(count: Count) -> None:
    """Count what makes a file durable: syncing a file or folder, and renaming a file.

    The file that is not synced any more is cut in half, as a crash of the machine may.
    """
    sync, rename = durable._fsync, Path.replace

    def counted_sync(path: Path) -> None:
        count(path)
        sync(path)

    def counted_rename(path: Path, target: Path) -> Path:
        count()
        return rename(path, target)

    durable._fsync = counted_sync
    Path.replace = counted_rename  # type: ignore[method-assign,assignment]


def steps_of_claims(count: Count) -> None:
    """Count the moments before a claim is made, written, touched and removed, and those after."""
    opened, wrote, touch, remove = os.open, os.write, os.utime, Path.unlink
    claims = set[object]()

    def counted_open(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if not (flags & os.O_EXCL and str(path).endswith(CLAIM_SUFFIX)):
            return opened(path, flags, *more, **options)
        count()
        claims.add(descriptor := opened(path, flags, *more, **options))
        count()
        return descriptor

    def counted_write(descriptor: int, content: Any) -> int:
        if descriptor not in claims:
            return wrote(descriptor, content)
        half = wrote(descriptor, content[: len(content) // 2])
        count()
        half += wrote(descriptor, content[half:])
        count()
        return half

    def counted_touch(path: Any, *more: Any, **options: Any) -> None:
        if path in claims:
            count()
        touch(path, *more, **options)
        if path in claims:
            count()

    def counted_remove(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == CLAIM_SUFFIX:
            count()
        remove(path, missing_ok)
        if path.suffix == CLAIM_SUFFIX:
            count()

    os.open, os.write, os.utime = counted_open, counted_write, counted_touch
    Path.unlink = counted_remove  # type: ignore[method-assign,assignment]


def halves_of_writes(count: Count) -> None:
    """Count the moments in the middle of all writes into files that are to be durable."""
    write, write_all = SteadyFile.write, durable._write_all

    def counted_write(file: SteadyFile, content: memoryview) -> int:
        view = memoryview(content).cast("B")
        half = write(file, view[: len(view) // 2])
        count()
        return half + write(file, view[half:])

    def counted_write_all(file: FileIO, content: bytes | memoryview) -> None:
        view = memoryview(content).cast("B")
        write_all(file, view[: len(view) // 2])
        count()
        write_all(file, view[len(view) // 2 :])

    SteadyFile.write = counted_write  # type: ignore[method-assign,assignment]
    durable._write_all = counted_write_all


def contents(folder: Path, pattern: str = "**/*") -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
