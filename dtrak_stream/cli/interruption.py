"""How a command ends from outside: by Ctrl-C, by SIGTERM, or for want of a reader."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
"""What shells report of a program that ended by SIGPIPE, as those in C do."""


def interrupt_on_sigterm() -> None:
    """Take SIGTERM for Ctrl-C from now on: so end machines that are taken away."""
    signal.signal(signal.SIGTERM, _interrupt)


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """Say that the command was interrupted, and what for it may say; return the exit code."""
    print(f"interrupted: {how_to_go_on(interrupt)}", file=sys.stderr)
    # An interrupt that passed through exec() of a text, as of dataclasses, would make Python end
    # by the signal instead of with the code; running any other text makes it forget that.
    exec("")
    return EXIT_INTERRUPTED


def unread() -> int:
    """Return the exit code of a command whose output nobody reads any more, such as `| head`.

    What is still to be written goes nowhere: Python would complain of it at its end.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a closed one is None
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    return EXIT_UNREAD


def how_to_go_on(interrupt: KeyboardInterrupt) -> str:
    """Return what is kept, if the interrupt says so, and what to do."""
    progress = f"{interrupt}; " if str(interrupt) else ""
    return f"{progress}run the same command again to continue where it stopped"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
