"""Commands that are ended from outside: while they are still imported, or for want of a reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from dtrak_stream.cli.command_line import exit_code
from dtrak_stream.cli.interruption import EXIT_INTERRUPTED, EXIT_UNREAD
from dtrak_stream.support.watching import Ending

SCRIPT = """
import sys
from dtrak_stream.cli.main import main, run_tool

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            exec({how!r})  # as in the text that a dataclass is made of

sys.meta_path.insert(0, Interrupts())
sys.argv = ["attribute.py", "--help"]
{call}
"""
MODULES = ("dtrak_stream.cli.dispatch", "tyro", "dtrak_stream.attribution.configuration")


CTRL_C = "raise KeyboardInterrupt"
SIGTERM = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
MAIN = "main(['attribute', '--help'])"


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("call", [MAIN, "run_tool('attribute')"])
@pytest.mark.parametrize("as_module", [True, False])
def test_ctrl_c_during_any_import_is_told_in_one_line(
    tmp_path: Path, module: str, call: str, as_module: bool
) -> None:
    told_in_one_line(tmp_path, SCRIPT.format(module=module, call=call, how=CTRL_C), as_module)


@pytest.mark.parametrize("call", [MAIN, "run_tool('attribute')"])
def test_sigterm_during_an_import_is_told_as_ctrl_c_is(tmp_path: Path, call: str) -> None:
    told_in_one_line(tmp_path, SCRIPT.format(module=MODULES[0], call=call, how=SIGTERM), True)


def told_in_one_line(tmp_path: Path, script: str, as_module: bool) -> None:
    (tmp_path / "command.py").write_text(script)
    named = ["-m", "command"] if as_module else [str(tmp_path / "command.py")]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, *named],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (ran.returncode, ran.stdout) == (EXIT_INTERRUPTED, "")
    assert ran.stderr.startswith("interrupted: ")
    assert ran.stderr.count("\n") == 1


def unread(arguments: list[str], *, errors_too: bool) -> tuple[int, str]:
    """Run a command whose output nobody reads; return how it ended, and its errors if read."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [sys.executable, *arguments],
            stdout=writer,
            stderr=writer if errors_too else subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    return ran.returncode, ran.stderr or ""


TOOL = (
    "import sys; from dtrak_stream.cli.main import run_tool; sys.argv = {words}; run_tool('{name}')"
)


@pytest.mark.parametrize("errors_too", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "dtrak_stream", "--help"],
        ["-m", "dtrak_stream", "score", "--help"],
        ["-m", "dtrak_stream", "--version"],
        ["-c", TOOL.format(words=["score.py", "--method", "list"], name="score")],
        ["-c", TOOL.format(words=["bench.py", "size", "--help"], name="bench")],
    ],
)
def test_output_that_nobody_reads_ends_a_command_quietly(
    arguments: list[str], errors_too: bool
) -> None:
    assert unread(arguments, errors_too=errors_too) == (EXIT_UNREAD, "")


def test_what_is_watched_of_a_command_says_that_nobody_read_it(tmp_path: Path) -> None:
    told: list[Ending] = []

    def work() -> NoReturn:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        exit_code(work, told.append)
    assert told == [Ending("interrupted", EXIT_UNREAD, "nobody reads what it prints")]


def test_a_command_without_standard_output_is_done() -> None:
    command = [sys.executable, "-m", "dtrak_stream", "--version"]
    shell = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True)
    assert (shell.returncode, shell.stderr) == (0, "")
