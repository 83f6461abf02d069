"""Telling work in other processes to stop, where no signal reaches it.

Work that runs in a thread gets no Ctrl-C. It asks now and then whether the command that it belongs
to wants it to stop, keeps what it has, and ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_stopped: set[str] = set()
_command: ContextVar[str | None] = ContextVar("_command", default=None)


def stop(command: str) -> None:
    """Let all work in this process that belongs to `command` stop, now and from now on."""
    _stopped.add(command)


def stop_wanted() -> bool:
    """Return whether the work at hand is to keep what it has and end."""
    return _command.get() in _stopped


def work_for(command: str) -> None:
    """Let all that this thread does from now on belong to `command`; see `working_for`."""
    _command.set(command)


@contextmanager
def working_for(command: str) -> Iterator[None]:
    """Let what runs inside belong to `command`, a name that no other command has."""
    before = _command.set(command)
    try:
        yield
    finally:
        _command.reset(before)
