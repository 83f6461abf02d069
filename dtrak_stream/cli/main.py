"""The console command: `dtrak-stream NAME [options]`, and the same commands for `tools/`.

Nothing but this loads before Ctrl-C and SIGTERM are waited for: what reads options takes a moment
to import.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dtrak_stream.cli.interruption import interrupt_on_sigterm, interrupted


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the first argument names; exit as `run` does.

    Parameters
    ----------
    arguments
        Command line without the program name (default: `sys.argv[1:]`).
    """
    interrupt_on_sigterm()
    try:
        from dtrak_stream.cli.dispatch import run_named

        run_named(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt as interrupt:
        sys.exit(interrupted(interrupt))


def run_tool(name: str) -> NoReturn:
    """Run one command by the name of the file in `tools/` that was started."""
    interrupt_on_sigterm()
    try:
        from dtrak_stream.cli.dispatch import run_one

        run_one(name, sys.argv[1:], Path(sys.argv[0]).name)
    except KeyboardInterrupt as interrupt:
        sys.exit(interrupted(interrupt))
