"""Claims on pieces of shared work, so that commands that run side by side share it.

A claim is a file beside the work: whoever makes it (O_EXCL) has the piece. It names its holder, who
touches it every few seconds. A claim that is not touched any more, or whose holder is seen to be
dead, is taken over. Claims save work, and nothing but work: on any file system there are moments in
which two processes can hold the same piece, and both must then be free to finish it.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.support.durable import disk_full_explained
from dtrak_stream.support.progress import say
from dtrak_stream.support.writers import Writer

CLAIM_SUFFIX = ".claim"
_BEAT_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.25

Waiting = Callable[[Sequence[Path]], object]


@dataclass(frozen=True)
class _Seen:
    """What a claim of another process was, and since when it has been just that."""

    file: int
    touched: int
    since: float


class Claims(contextlib.AbstractContextManager["Claims"]):
    """What this process holds; leaving its `with` block gives it all back.

    A piece of work is called by a path: that of its result, or any other; PATH.claim claims it.

    Parameters
    ----------
    beat_seconds
        Time between two touches of the claims that are held.
    patience_seconds
        How long a claim may stay untouched before others take it. Both times are told by this
        process's own clock, which never jumps; clocks of hosts are not compared.
    """

    def __init__(
        self,
        *,
        beat_seconds: float = _BEAT_SECONDS,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._beat_seconds = beat_seconds
        self._patience_seconds = patience_seconds
        self._held: dict[Path, int] = {}
        self._seen: dict[Path, _Seen] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._heart: threading.Thread | None = None

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        for piece in list(self._held):
            self.release(piece)

    def take(self, piece: Path) -> bool:
        """Claim a piece; return False if another process, or this one, has it.

        Raises
        ------
        DiskFullError
            If there is no room for the claim.
        """
        if self._create(piece):
            return True
        if piece in self._held or not self._is_abandoned(piece):
            return False
        claim_of(piece).unlink(missing_ok=True)
        return self._create(piece)

    def release(self, piece: Path) -> None:
        """Give up a piece that is finished, or that others shall have, if it is held."""
        with self._lock:
            descriptor = self._held.pop(piece, None)
        if descriptor is None:
            return
        claim = claim_of(piece)
        # it may be another's by now, if this process slept for too long
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), claim.stat()):
                claim.unlink()
        os.close(descriptor)

    def is_free(self, piece: Path) -> bool:
        """Return whether `take` would claim a piece, as far as can be told."""
        return not claim_of(piece).exists() or self._is_abandoned(piece)

    def share(
        self, pieces: Iterable[Path], is_done: Callable[[Path], bool], waiting: Waiting
    ) -> Iterator[Path]:
        """Yield pieces claimed for the caller, one after the other, until all are done.

        Pieces that others hold are passed over, and come up again when they are given up.

        Parameters
        ----------
        pieces
            What is to be done.
        is_done
            Whether a piece is finished, by whomever.
        waiting
            See `wait_for_others`.

        Yields
        ------
        Path
            A piece that is claimed, and not done. The caller releases it before the next one.
        """
        left = list(pieces)
        while left:
            yield from self.take_free(left, is_done)
            left = self.wait_for_others(left, is_done, waiting)

    def take_free(self, pieces: Iterable[Path], is_done: Callable[[Path], bool]) -> Iterator[Path]:
        """Yield those pieces that nobody finished or holds, each claimed as it comes."""
        for piece in pieces:
            if is_done(piece) or not self.take(piece):
                continue
            if is_done(piece):  # its holder finished it, and let go, just before
                self.release(piece)
            else:
                yield piece

    def wait_for_others(
        self, pieces: Iterable[Path], is_done: Callable[[Path], bool], waiting: Waiting
    ) -> list[Path]:
        """Return pieces that others gave up, as soon as there are some; none if all are done.

        `waiting` is called with what others still hold, each time that is looked at.
        """
        left = list(pieces)
        while left := [piece for piece in left if not is_done(piece)]:
            if free := [piece for piece in left if self.is_free(piece)]:
                return free
            waiting(left)
            time.sleep(_POLL_SECONDS)
        return []

    @contextlib.contextmanager
    def alone_with(self, piece: Path) -> Iterator[None]:
        """Hold a piece inside, after waiting for whoever has it; raises as `take`."""
        told = time.monotonic() + _POLL_SECONDS * 4
        while not self.take(piece):
            if time.monotonic() > told:
                say(f"{piece}: waiting for {holder_of(piece) or 'another process'}")
                told = math.inf
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            self.release(piece)

    def _create(self, piece: Path) -> bool:
        claim = claim_of(piece)
        claim.parent.mkdir(parents=True, exist_ok=True)
        try:
            with disk_full_explained(claim):
                descriptor = os.open(claim, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            return False
        with self._lock:
            self._held[piece] = descriptor
        try:
            with disk_full_explained(claim):
                os.write(descriptor, Writer.here().spelling.encode())
        except BaseException:
            self.release(piece)
            raise
        self._beat()
        return True

    def _is_abandoned(self, piece: Path) -> bool:
        holder = holder_of(piece)
        if holder is not None and holder.is_dead:
            return True
        try:
            with claim_of(piece).open("rb") as file:  # opening asks a file server, stat may not
                status = os.fstat(file.fileno())
        except OSError:
            return False  # just released: free in a moment
        now, seen = time.monotonic(), self._seen.get(piece)
        if seen is None or (seen.file, seen.touched) != (status.st_ino, status.st_mtime_ns):
            self._seen[piece] = _Seen(status.st_ino, status.st_mtime_ns, now)
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


def claim_of(piece: Path) -> Path:
    """Return the file that claims a piece."""
    return piece.with_name(piece.name + CLAIM_SUFFIX)


def holder_of(piece: Path) -> Writer | None:
    """Return who has a piece; None if nobody has, or the claim does not say."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Writer.spelled(claim_of(piece).read_text())
    return None


def remove_useless_claims(folder: Path, is_done: Callable[[Path], bool]) -> None:
    """Remove claims in `folder` on pieces that are done, and those that dead processes left."""
    for claim in folder.glob("*" + CLAIM_SUFFIX):
        piece = claim.with_suffix("")
        holder = holder_of(piece)
        if is_done(piece) or (holder is not None and holder.is_dead):
            claim.unlink(missing_ok=True)


def remove_dead_claim(piece: Path) -> None:
    """Remove the claim that a process left on a piece when it was killed, if there is one."""
    holder = holder_of(piece)
    if holder is not None and holder.is_dead:
        claim_of(piece).unlink(missing_ok=True)


@contextlib.contextmanager
def alone_with(result: Path) -> Iterator[None]:
    """Hold the claim on a whole result inside, after waiting for whoever is at it."""
    with Claims() as claims, claims.alone_with(result):
        yield
