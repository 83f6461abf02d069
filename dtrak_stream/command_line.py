"""The command line: options and YAML from the configuration dataclasses, exit codes, Ctrl-C.

Exit codes: 0 done, 2 bad input or refused, 3 done with quarantined samples, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import tyro
import yaml

from dtrak_stream.errors import DtrakStreamError, InputError
from dtrak_stream.provenance import RECORD_KEY

EXIT_DONE = 0
EXIT_REFUSED = 2
EXIT_QUARANTINED = 3
EXIT_INTERRUPTED = 130

_CONFIG_HELP = (
    "Every option may also stand in a YAML file (`option-name: value`), given with "
    "--config FILE.yaml; flags on the command line win. The config.yaml that a run writes is "
    "such a file."
)

Config = TypeVar("Config")


class Outcome(Protocol):
    """What a stage returns: where its result is, and how many samples it had to leave out."""

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
) -> None:
    """Parse the command line into `config_type`, run `stage`, print its path, exit.

    Parameters
    ----------
    config_type
        Dataclass whose fields are the options and whose docstrings are the help.
    stage
        The one function of the package that this command is for.
    arguments
        Command line without the program name (default: `sys.argv[1:]`).
    """
    sys.exit(_exit_code(config_type, stage, sys.argv[1:] if arguments is None else arguments))


def parse(config_type: type[Config], arguments: Sequence[str]) -> Config:
    """Turn a command line, with any `--config FILE.yaml` expanded, into a configuration.

    Raises
    ------
    InputError
        If the YAML file is missing or is not a mapping of options.
    """
    description = f"{config_type.__doc__ or ''}\n\n{_CONFIG_HELP}"
    return tyro.cli(config_type, args=_expand_config(list(arguments)), description=description)


def _exit_code(
    config_type: type[Config], stage: Callable[[Config], Outcome], arguments: Sequence[str]
) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        outcome = stage(parse(config_type, arguments))
    except DtrakStreamError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt as interrupt:
        progress = f"{interrupt}; " if str(interrupt) else ""
        print(
            f"interrupted: {progress}run the same command again to continue where it stopped",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    print(outcome.path)
    return EXIT_QUARANTINED if outcome.quarantined else EXIT_DONE


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _expand_config(arguments: list[str]) -> list[str]:
    """Replace `--config FILE` by the options in FILE, placed first so that flags override them."""
    from_file: list[str] = []
    from_flags: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, separator, value = argument.partition("=")
        if name != "--config":
            from_flags.append(argument)
        else:
            from_file += _options_in(Path(value if separator else next(waiting, "")))
    return from_file + from_flags


def _options_in(path: Path) -> list[str]:
    try:
        options = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(
            f"cannot read the configuration ({error.strerror})",
            where=f"--config {path}",
            remedy="give an existing YAML file",
        ) from error
    except yaml.YAMLError as error:
        raise InputError(
            f"not YAML ({' '.join(str(error).split())})",
            where=f"--config {path}",
            remedy="write one `option-name: value` a line",
        ) from error
    if not isinstance(options, dict):
        raise InputError(
            "not a mapping of options",
            where=f"--config {path}",
            remedy="write one `option-name: value` a line",
        )
    return [token for name, value in options.items() for token in _tokens(str(name), value)]


def _tokens(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if name == RECORD_KEY or value is None:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{flag}", *map(str, values)]
