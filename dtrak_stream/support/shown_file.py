"""A small file that one process shows to whoever looks, and no other process writes meanwhile.

The process that shows it holds a lock on it, which ends with the process however that ends. File
systems that know no locks let everybody write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from dtrak_stream.support.durable import show_text, target_of


class ShownFile:
    """A file whose text is replaced as a whole.

    Parameters
    ----------
    path
        Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = target_of(path)
        self._held: int | None = None

    def show(self, text: str) -> None:
        """Replace the text.

        Raises
        ------
        OSError
            If it cannot be written, or another process has begun to show a file in its place.
        """
        if self._is_anothers():
            raise FileExistsError(f"another command writes {self._path} by now")
        show_text(self._path, text, self._hold)

    def close(self) -> None:
        """Let others write it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _is_anothers(self) -> bool:
        if self._held is None or not self._path.exists():
            return False
        return not os.path.samestat(os.fstat(self._held), self._path.stat())

    def _hold(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.close()
        self._held = os.dup(descriptor)


def is_shown(path: Path) -> bool:
    """Return whether a process that runs shows this file, as far as can be told."""
    try:
        with target_of(path).open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
