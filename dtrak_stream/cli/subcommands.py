"""A command line whose first argument names one of several stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dtrak_stream.cli.command_line import EXIT_DONE, Outcome, exit_code, run
from dtrak_stream.errors import ConfigurationError

Subcommand = tuple[type[Any], Callable[[Any], Outcome]]


def run_subcommand(
    subcommands: Mapping[str, Subcommand],
    arguments: Sequence[str] | None = None,
    *,
    description: str = "",
) -> None:
    """Do what `run` does, for the stage that the first argument names.

    Parameters
    ----------
    subcommands
        Name to (configuration dataclass, its function), each as for `run`.
    arguments
        Command line without the program name (default: `sys.argv[1:]`).
    description
        What the program is for.
    """
    name, *options = (sys.argv[1:] if arguments is None else arguments) or [""]
    program = Path(sys.argv[0]).name
    if name in subcommands:
        run(*subcommands[name], options, program=f"{program} {name}")
    if name in ("-h", "--help"):
        _print_help(subcommands, program, description)
        sys.exit(EXIT_DONE)
    sys.exit(exit_code(lambda: _refuse(name, subcommands)))


def _print_help(subcommands: Mapping[str, Subcommand], program: str, description: str) -> None:
    print(f"usage: {program} SUBCOMMAND [options]\n\n{description.strip()}\n")
    for name, (config_type, _) in subcommands.items():
        first_line = (config_type.__doc__ or "").partition("\n")[0]
        print(f"  {program} {name} --help\n      {first_line}")


def _refuse(name: str, known: Iterable[str]) -> NoReturn:
    raise ConfigurationError(
        f"there is no subcommand {name}" if name else "a subcommand is missing",
        where="command line",
        remedy=f"use one of: {', '.join(known)}",
    )
