"""What a command is to a shell: one line that says how it ended, an exit code, Ctrl-C.

Exit codes: 0 done, 2 bad input or refused, 3 done with quarantined samples, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol, TypeVar

from dtrak_stream.cli.interruption import interrupted
from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.obstacles import refuse_unavailable

EXIT_DONE = 0
EXIT_REFUSED = 2
EXIT_QUARANTINED = 3

Config = TypeVar("Config")


class Outcome(Protocol):
    """What a stage returns: where its result is, and how many samples it had to leave out.

    One whose result is a few numbers may have them as text in `report`, printed instead.
    """

    @property
    def path(self) -> Path:
        """Return the file or folder that holds the result."""

    @property
    def quarantined(self) -> int:
        """Return the number of samples left out because they were bad."""


def run(
    config_type: type[Config],
    stage: Callable[[Config], Outcome],
    arguments: Sequence[str] | None = None,
    *,
    program: str | None = None,
) -> NoReturn:
    """Parse the command line into `config_type`, run `stage`, print its path, exit.

    Parameters
    ----------
    config_type
        Dataclass whose fields are the options and whose docstrings are the help.
    stage
        The one function of the package that this command is for.
    arguments
        Command line without the program name (default: `sys.argv[1:]`).
    program
        Name of the program in its help (default: the file's).
    """
    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(exit_code(lambda: stage(parse(config_type, given, program=program))))


def exit_code(work: Callable[[], Outcome]) -> int:
    """Do the work, print where its result is (or one line on what went wrong); see the codes."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        outcome = work()
    except DtrakStreamError as refusal:
        print("error:", *str(refusal).splitlines(), file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        if error.filename is None:
            raise
        try:
            refuse_unavailable(error.filename, error)
        except DtrakStreamError as refusal:
            if not isinstance(error, PermissionError):
                print("error:", refusal, file=sys.stderr)
                return EXIT_REFUSED
        print(
            f"error: {error.filename}: {str(error.strerror).lower()}; "
            "check the path and your right to write there",
            file=sys.stderr,
        )
        return EXIT_REFUSED
    except KeyboardInterrupt as interrupt:
        return interrupted(interrupt)
    print(getattr(outcome, "report", outcome.path))
    return EXIT_QUARANTINED if outcome.quarantined else EXIT_DONE


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
