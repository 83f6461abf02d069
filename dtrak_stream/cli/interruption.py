"""How a command ends on Ctrl-C or SIGTERM: one line, and an exit code."""

from __future__ import annotations

import signal
import sys
from types import FrameType

EXIT_INTERRUPTED = 130


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


def how_to_go_on(interrupt: KeyboardInterrupt) -> str:
    """Return what is kept, if the interrupt says so, and what to do."""
    progress = f"{interrupt}; " if str(interrupt) else ""
    return f"{progress}run the same command again to continue where it stopped"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
