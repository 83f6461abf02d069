"""Who writes: a process on a host, told apart from all others, and whether it still lives."""

from __future__ import annotations

import functools
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil
import xxhash

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES = Path("/proc/self/ns/pid")
_SPELLED = re.compile(r"([a-z0-9_]+)-(\d+)-(\d+)")
_LONGEST_NAME = 24  # of a host, for a reader: the digest after it tells hosts apart


@dataclass(frozen=True)
class Writer:
    """A process that writes files others may see.

    Attributes
    ----------
    host
        Where it runs: a machine since it was last started, and a set of process numbers on it
        (two containers on a machine count as two hosts).
    process
        Its number there.
    start
        When it began, in a unit of its host's: numbers of processes are used again.
    """

    host: str
    process: int
    start: int

    @classmethod
    def here(cls) -> Writer:
        """Return this process."""
        process = os.getpid()  # asked every time: a fork is another writer
        return cls(_this_host(), process, _start_of(process) or 0)

    @classmethod
    def spelled(cls, text: str) -> Writer | None:
        """Return the writer whose `spelling` this is; None if it is nobody's."""
        match = _SPELLED.fullmatch(text)
        return None if match is None else cls(match[1], int(match[2]), int(match[3]))

    @property
    def spelling(self) -> str:
        """Return what stands for it in the name of a file."""
        return f"{self.host}-{self.process}-{self.start}"

    @property
    def is_here(self) -> bool:
        """Return whether it runs, or ran, where this process does: whether it can be looked up."""
        return self.host == _this_host()

    @property
    def is_dead(self) -> bool:
        """Return whether it certainly runs no more; False of what cannot be seen from here."""
        return self.is_here and _start_of(self.process) != self.start

    def __str__(self) -> str:
        return f"process {self.process} on {self.host.rpartition('_')[0]}"


@functools.cache
def _this_host() -> str:
    name = re.sub(r"[^a-z0-9]", "", socket.gethostname().lower())[:_LONGEST_NAME]
    boot = _BOOT.read_text() if _BOOT.exists() else ""
    processes = str(_PROCESSES.readlink()) if _PROCESSES.is_symlink() else ""
    told_apart = xxhash.xxh3_64_hexdigest(f"{socket.gethostname()}|{boot}|{processes}".encode())
    return f"{name}_{told_apart[:8]}"


def _start_of(process: int) -> int | None:
    """Return when a process of this host began; None if there is none of that number."""
    try:
        # after the name, which may hold anything; ticks since boot, which no clock can shift
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(rest[18])
    except (FileNotFoundError, ProcessLookupError):
        pass
    try:
        return None if _PROCESSES.is_symlink() else int(psutil.Process(process).create_time())
    except psutil.NoSuchProcess:
        return None
