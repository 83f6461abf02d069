"""The console command: `dtrak-stream NAME [options]`, and the same commands for `tools/`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import dtrak_stream
from dtrak_stream.cli.command_line import EXIT_DONE, exit_code, run
from dtrak_stream.cli.commands import COMMANDS, Command, CommandGroup
from dtrak_stream.cli.method_list import asks_for_methods, methods_table
from dtrak_stream.errors import ConfigurationError

PROGRAM = "dtrak-stream"
_ALL = CommandGroup(dtrak_stream.__doc__.partition("\n")[0], COMMANDS)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the first argument names; exit as `run` does.

    Parameters
    ----------
    arguments
        Command line without the program name (default: `sys.argv[1:]`).
    """
    given = sys.argv[1:] if arguments is None else arguments
    if list(given[:1]) == ["--version"]:
        print(PROGRAM, dtrak_stream.__version__)
        sys.exit(EXIT_DONE)
    _run(_ALL, given, PROGRAM)


def run_tool(name: str) -> NoReturn:
    """Run one command by the name of the file in `tools/` that was started."""
    _run(COMMANDS[name], sys.argv[1:], Path(sys.argv[0]).name)


def _run(command: Command | CommandGroup, arguments: Sequence[str], program: str) -> NoReturn:
    if isinstance(command, CommandGroup):
        _run_one_of(command, arguments, program)
    if command.lists_methods and asks_for_methods(arguments):
        print(methods_table())
        sys.exit(EXIT_DONE)
    run(command.options(), lambda config: command.stage()(config), arguments, program=program)


def _run_one_of(group: CommandGroup, arguments: Sequence[str], program: str) -> NoReturn:
    name, *options = arguments or [""]
    if name in group.commands:
        _run(group.commands[name], options, f"{program} {name}")
    if name in ("-h", "--help"):
        print(_help(group, program))
        sys.exit(EXIT_DONE)
    sys.exit(exit_code(lambda: _refuse(name, group.commands)))


def _help(group: CommandGroup, program: str) -> str:
    width = max(map(len, group.commands))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in group.commands.items()]
    usage = f"usage: {program} COMMAND [options]\n\n{group.summary}\n"
    return "\n".join([usage, *lines, "", f"{program} COMMAND --help lists the options of one."])


def _refuse(name: str, known: Iterable[str]) -> NoReturn:
    raise ConfigurationError(
        f"there is no command {name}" if name else "a command is missing",
        where="command line",
        remedy=f"use one of: {', '.join(known)}",
    )
