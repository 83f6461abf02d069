"""What a command is to a shell: one line that says how it ended, an exit code, signals.

Exit codes: 0 done, 2 bad input or refused, 3 done with quarantined samples, 130 interrupted
(by Ctrl-C or SIGTERM alike), 141 stopped since nobody reads what it prints.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from dtrak_stream.cli.interruption import (
    EXIT_UNREAD,
    how_to_go_on,
    interrupt_on_sigterm,
    interrupted,
)
from dtrak_stream.cli.watch_options import Watched, parse_watched
from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.support.obstacles import refuse_unavailable
from dtrak_stream.support.watching import Ending

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
    watched = Watched(_plain_name(program or Path(sys.argv[0]).name))

    def work() -> Outcome:
        config, options = parse_watched(config_type, given, program=program)
        watched.begin(options, config)
        return stage(config)

    sys.exit(exit_code(work, watched.end))


def exit_code(
    work: Callable[[], Outcome], ended: Callable[[Ending], object] = lambda _: None
) -> int:
    """Do the work, print where its result is (or one line on what went wrong); see the codes.

    Parameters
    ----------
    work
        What is done.
    ended
        Is told how it ended, also where that is by an error of the program.
    """
    interrupt_on_sigterm()
    # Pillow warns of images that are refused as bombs by their names
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    try:
        ending = _ending(work)
    except BrokenPipeError:
        ended(Ending("interrupted", EXIT_UNREAD, "nobody reads what it prints"))
        raise
    except BaseException as error:
        failure = "".join(traceback.format_exception_only(error))
        ended(Ending("failed", 1, failure))
        raise
    ended(ending)
    return ending.exit_code


def _ending(work: Callable[[], Outcome]) -> Ending:
    try:
        outcome = work()
    except KeyboardInterrupt as interrupt:
        return Ending("interrupted", interrupted(interrupt), how_to_go_on(interrupt))
    except DtrakStreamError as refusal:
        return _refused(" ".join(str(refusal).splitlines()))
    except OSError as error:
        if error.filename is None:
            raise
        return _refused(_about_path(error))
    result = str(getattr(outcome, "report", outcome.path))
    print(result)
    if outcome.quarantined:
        return Ending("quarantined", EXIT_QUARANTINED, result)
    return Ending("done", EXIT_DONE, result)


def _refused(why: str) -> Ending:
    print("error:", why, file=sys.stderr)
    return Ending("refused", EXIT_REFUSED, why)


def _about_path(error: OSError) -> str:
    """Return what the system would not do with a path, and what to do about that."""
    try:
        refuse_unavailable(error.filename, error)
    except DtrakStreamError as refusal:
        if not isinstance(error, PermissionError):
            return str(refusal)
    return (
        f"{error.filename}: {str(error.strerror).lower()}; "
        "check the path and your right to write there"
    )


def _plain_name(program: str) -> str:
    """Return the name of a command, however it was started: `bench size` of `bench.py size`."""
    return program.removeprefix("dtrak-stream ").replace(".py", "")
