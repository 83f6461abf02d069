"""Claims on pieces of shared work, so that commands that run side by side share it.

A claim is a file beside the work: whoever makes it (O_EXCL) has the piece. It names its holder, who
touches it every few seconds. A claim that is not touched any more, or whose holder is seen to be
dead, is taken over. Claims save work, and nothing but work: on any file system there are moments in
which two processes can hold the same piece, and both must then be free to finish it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from dtrak_stream.support.durable import disk_full_explained
from dtrak_stream.support.progress import say
from dtrak_stream.support.writers import Writer

CLAIM_SUFFIX = ".claim"
_BEAT_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.25

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class _Seen:
    """What a claim of another process was, and since when it has been just that."""

    file: int
    touched: int
    since: float


class Claims:
    """The claims of this process in one folder; leaving its `with` block releases them all.

    Parameters
    ----------
    folder
        Where the files NAME.claim are; it must exist when a claim is taken.
    beat_seconds
        Time between two touches of the claims that are held.
    patience_seconds
        How long a claim may stay untouched before others take it. Both times are told by this
        process's own clock, which never jumps; clocks of hosts are not compared.
    """

    def __init__(
        self,
        folder: Path,
        *,
        beat_seconds: float = _BEAT_SECONDS,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self.folder = folder
        self._beat_seconds = beat_seconds
        self._patience_seconds = patience_seconds
        self._held: dict[str, int] = {}
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for name in list(self._held):
            self.release(name)

    def take(self, name: str) -> bool:
        """Claim the piece called `name`; return False if another process, or this one, has it.

        Raises
        ------
        DiskFullError
            If there is no room for the claim.
        """
        path = self._path(name)
        if self._create(name, path):
            return True
        if name in self._held or not self._is_abandoned(name, path):
            return False
        path.unlink(missing_ok=True)
        return self._create(name, path)

    def release(self, name: str) -> None:
        """Give up a piece that is finished, or that others shall have."""
        with self._lock:
            descriptor = self._held.pop(name)
        path = self._path(name)
        # it may be another's by now, if this process slept for too long
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                path.unlink()
        os.close(descriptor)

    def holder(self, name: str) -> Writer | None:
        """Return who has the piece; None if nobody has, or the claim does not say."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return Writer.spelled(self._path(name).read_text())
        return None

    def share(
        self,
        pieces: Sequence[Piece],
        is_done: Callable[[Piece], bool],
        *,
        name: Callable[[Piece], str],
        waiting: Callable[[Sequence[Piece]], object],
    ) -> Iterator[Piece]:
        """Yield pieces claimed for the caller, one after the other, until all are done.

        Pieces that others hold are passed over, and come up when they are done or given up.

        Parameters
        ----------
        pieces
            What is to be done.
        is_done
            Whether a piece is finished, by whomever.
        name
            What a piece is called; see `take`.
        waiting
            Called with what others still hold, again and again while there is nothing else to do.

        Yields
        ------
        Piece
            One that is claimed, and not done. The caller releases it.
        """
        left = list(pieces)
        while left:
            before = len(left)
            others: list[Piece] = []
            for piece in left:
                if is_done(piece):
                    continue
                if not self.take(name(piece)):
                    others.append(piece)
                elif is_done(piece):  # its holder finished it, and let go, just before
                    self.release(name(piece))
                else:
                    yield piece
            left = [piece for piece in others if name(piece) not in self._held]
            if left and len(left) == before:
                waiting(left)
                time.sleep(_POLL_SECONDS)

    def wait_for(self, name: str) -> None:
        """Claim the piece called `name`, once nobody else has it; raises as `take`."""
        told = False
        while not self.take(name):
            if not told:
                say(f"{self.folder / name}: waiting for {self.holder(name) or 'another process'}")
            told = True
            time.sleep(_POLL_SECONDS)

    def remove_useless(self, is_done: Callable[[str], bool]) -> None:
        """Remove claims on pieces that are done, such as those of a process that was killed."""
        for path in self.folder.glob("*" + CLAIM_SUFFIX):
            if is_done(path.name.removesuffix(CLAIM_SUFFIX)):
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / (name + CLAIM_SUFFIX)

    def _create(self, name: str, path: Path) -> bool:
        try:
            with disk_full_explained(path):
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            return False
        with self._lock:
            self._held[name] = descriptor
        try:
            with disk_full_explained(path):
                os.write(descriptor, Writer.here().spelling.encode())
        except BaseException:
            self.release(name)
            raise
        self._beat()
        return True

    def _is_abandoned(self, name: str, path: Path) -> bool:
        holder = self.holder(name)
        if holder is not None and holder.is_dead:
            return True
        try:
            with path.open("rb") as file:  # opening asks a file server, a mere stat may not
                status = os.fstat(file.fileno())
        except OSError:
            return False  # just released: free in a moment
        now, seen = time.monotonic(), self._seen.get(name)
        if seen is None or (seen.file, seen.touched) != (status.st_ino, status.st_mtime_ns):
            self._seen[name] = _Seen(status.st_ino, status.st_mtime_ns, now)
            return False
        return now - seen.since > self._patience_seconds

    def _beat(self) -> None:
        if self._heart is None:
            self._heart = threading.Thread(target=self._touch_all, name="claims", daemon=True)
            self._heart.start()

    def _touch_all(self) -> None:
        while not self._over.wait(self._beat_seconds):
            with self._lock:
                for descriptor in self._held.values():
                    # through the open file: another's claim of that name is never touched
                    with contextlib.suppress(OSError):
                        os.utime(descriptor)


@contextlib.contextmanager
def alone(result: Path) -> Iterator[None]:
    """Hold the claim on a whole result inside, waiting for whoever is at it."""
    result.parent.mkdir(parents=True, exist_ok=True)
    with Claims(result.parent) as claims:
        claims.wait_for(result.name)
        yield
