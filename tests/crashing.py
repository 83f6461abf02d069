"""Work in child processes, which die with SIGKILL at their n-th step towards a durable file."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

from dtrak_stream.support import durable


def finishes_before_step(work: Callable[[], object], step: int) -> bool:
    """Run `work` in a forked child that dies at its `step`-th durable step.

    Steps are syncing a file or folder and renaming a file. Before dying at the sync of a file,
    the child cuts it in half, as a crash of the machine may.

    Returns
    -------
    bool
        True if the work was over before that step.
    """

    def dying() -> None:
        _die_at(step)
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


def _die_at(step: int) -> None:
    remaining = step
    sync, rename = durable._fsync, Path.replace

    def count(path: Path | None) -> None:
        nonlocal remaining
        if remaining == 0:
            if path is not None and path.is_file():
                os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        remaining -= 1

    def dying_sync(path: Path) -> None:
        count(path)
        sync(path)

    def dying_rename(path: Path, target: Path) -> Path:
        count(None)
        return rename(path, target)

    durable._fsync = dying_sync
    Path.replace = dying_rename  # type: ignore[method-assign,assignment]


def contents(folder: Path, pattern: str = "**/*") -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
