"""From the words of a command line to the command that they name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

import dtrak_stream
from dtrak_stream.cli.command_line import EXIT_DONE, exit_code, run
from dtrak_stream.cli.commands import COMMANDS, Command, CommandGroup
from dtrak_stream.cli.method_list import asks_for_methods, methods_table
from dtrak_stream.errors import ConfigurationError

PROGRAM = "dtrak-stream"
_ALL = CommandGroup(dtrak_stream.__doc__.partition("\n")[0], COMMANDS)


def run_named(arguments: Sequence[str]) -> NoReturn:
    """Run the command that the first of these words names; exit as `run` does."""
    _run(_ALL, arguments, PROGRAM)


def run_one(name: str, arguments: Sequence[str], program: str) -> NoReturn:
    """Run the command of this name with these words as its options, as a program of its own."""
    _run(COMMANDS[name], arguments, program)


def _run(command: Command | CommandGroup, arguments: Sequence[str], program: str) -> NoReturn:
    if list(arguments[:1]) == ["--version"]:
        print(PROGRAM, dtrak_stream.__version__)
        sys.exit(EXIT_DONE)
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
