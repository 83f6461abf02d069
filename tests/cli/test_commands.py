"""The table of commands: names, one line about each, and what is no command."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

import dtrak_stream
from dtrak_stream.cli.commands import BENCHMARKS, COMMANDS, Command
from tests.commands_here import run_bench, run_command, squeezed
from tests.small_jobs import TOOLS, run_tool

ONE_OF_ALL = f"use one of: {', '.join(COMMANDS)}"


def test_help_has_a_line_for_every_command():
    told = run_command("--help")
    assert told.code == 0
    assert told.stdout.startswith("usage: dtrak-stream COMMAND [options]\n")
    lines = re.findall(r"^  (\S+) +(.*)$", told.stdout, re.MULTILINE)
    assert dict(lines) == {name: command.summary for name, command in COMMANDS.items()}


def test_help_of_a_group_has_a_line_for_every_command_in_it():
    told = run_bench("--help")
    assert told.code == 0
    assert told.stdout.startswith("usage: dtrak-stream bench COMMAND [options]\n")
    lines = re.findall(r"^  (\S+) +(.*)$", told.stdout, re.MULTILINE)
    assert dict(lines) == {name: command.summary for name, command in BENCHMARKS.items()}


def test_the_version_is_that_of_the_package():
    assert run_command("--version").stdout == f"dtrak-stream {dtrak_stream.__version__}\n"


def test_python_runs_the_package_as_the_console_command():
    told = subprocess.run(
        [sys.executable, "-m", "dtrak_stream", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == run_command("--version").stdout


@pytest.mark.parametrize(
    "command",
    [c for c in [*COMMANDS.values(), *BENCHMARKS.values()] if isinstance(c, Command)],
    ids=lambda command: command.function,
)
def test_every_command_has_options_and_a_function_of_them(command):
    assert command.options().__name__.endswith("Config")
    assert callable(command.stage())


def test_every_command_is_a_tool_with_the_same_words_about_it(capsys):
    tools = {path.stem.replace("_", "-"): path for path in TOOLS.glob("*.py")}
    assert set(tools) == set(COMMANDS)
    for name, path in tools.items():
        assert ast.get_docstring(ast.parse(path.read_text())) == COMMANDS[name].summary
    assert run_tool("gram", ["--help"], capsys)[1].startswith("usage: gram.py ")


@pytest.mark.parametrize("name", [path.stem for path in sorted(TOOLS.glob("*.py"))])
def test_every_tool_runs_the_command_of_its_name(name, capsys):
    command = name.replace("_", "-")
    code, told, errors = run_tool(name, ["--help"], capsys)
    assert (code, errors) == (0, "")
    told = told.replace(f"{name}.py", f"dtrak-stream {command}")
    assert squeezed(told) == squeezed(run_command(command, "--help").stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], f"a command is missing; {ONE_OF_ALL}"),
        (["nothing"], f"there is no command nothing; {ONE_OF_ALL}"),
        (["retrain_subsets"], f"there is no command retrain_subsets; {ONE_OF_ALL}"),
        (["bench"], f"a command is missing; use one of: {', '.join(BENCHMARKS)}"),
        (["bench", "nothing"], "there is no command nothing; use one of"),
        (["bench", "--repeats", "3"], "there is no command --repeats; use one of"),
        (["bench", "projectors", "--nothing"], "--nothing"),
        (["bench", "main-job", "--repeats", "0"], "--repeats 0: must be at least 1"),
    ],
)
def test_what_is_not_a_command_is_refused_in_one_line(arguments, words):
    told = run_command(*arguments)
    assert (told.code, told.stdout) == (2, "")
    (line,) = told.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_options_of_a_command_in_a_group_may_stand_in_a_file(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("repeats: -5\n")
    told = run_bench("main-job", "--config", str(file))
    assert "--repeats -5: must be at least 1" in told.stderr
