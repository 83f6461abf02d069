"""The console command: `dtrak-stream NAME [options]`, and the same commands for `tools/`.

Nothing but this loads before Ctrl-C and SIGTERM are waited for: what reads options takes a moment
to import.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from dtrak_stream.cli.interruption import interrupt_on_sigterm, interrupted, unread
from dtrak_stream.cli.quick_end import quick_end


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the first argument names; exit as `run` does.

    Parameters
    ----------
    arguments
        Command line without the program name (default: `sys.argv[1:]`).
    """

    def start() -> NoReturn:
        from dtrak_stream.cli.dispatch import run_named

        run_named(sys.argv[1:] if arguments is None else arguments)

    _ended_well(start)


def run_tool(name: str) -> NoReturn:
    """Run one command by the name of the file in `tools/` that was started."""

    def start() -> NoReturn:
        from dtrak_stream.cli.dispatch import run_one

        run_one(name, sys.argv[1:], Path(sys.argv[0]).name)

    _ended_well(start)


def _ended_well(start: Callable[[], NoReturn]) -> NoReturn:
    """Run a command to its exit; what ends it from outside is told in one line, or in none."""
    interrupt_on_sigterm()
    with quick_end():
        try:
            try:
                start()
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # at its own end, Python could only print a traceback
        except KeyboardInterrupt as interrupt:
            sys.exit(interrupted(interrupt))
        except BrokenPipeError:
            sys.exit(unread())
