"""How a command ends on Ctrl-C: one line, and an exit code."""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """Say that the command was interrupted, and what for it may say; return the exit code."""
    progress = f"{interrupt}; " if str(interrupt) else ""
    print(
        f"interrupted: {progress}run the same command again to continue where it stopped",
        file=sys.stderr,
    )
    # An interrupt that passed through exec() of a text, as of dataclasses, would make Python end
    # by the signal instead of with the code; running any other text makes it forget that.
    exec("")
    return EXIT_INTERRUPTED
