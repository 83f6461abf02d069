"""A command's process ends when all is done, and no other process ends by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = """
import atexit, sys

class Slow:
    def __del__(self):
        print("taken apart", flush=True)

kept = Slow()
kept.itself = kept
"""
COMMAND = f"""
from dtrak_stream.cli.main import main
{SLOW}
main(WORDS)
"""


def run(folder: Path, text: str, *, as_module: bool = False) -> tuple[int, list[str]]:
    (folder / "command.py").write_text(text)
    named = ["-m", "command"] if as_module else [str(folder / "command.py")]
    ran = subprocess.run([sys.executable, *named], cwd=folder, capture_output=True, text=True)
    return ran.returncode, ran.stdout.splitlines()


@pytest.mark.parametrize("as_module", [False, True])
@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["no-such-command"], 2)])
def test_a_command_is_not_taken_apart(
    tmp_path: Path, words: list[str], code: int, as_module: bool
) -> None:
    ended, lines = run(tmp_path, COMMAND.replace("WORDS", repr(words)), as_module=as_module)
    assert ended == code
    assert "taken apart" not in lines
    assert len(lines) == (words == ["--version"])


def test_what_was_left_for_the_end_is_done(tmp_path: Path) -> None:
    left = "import atexit\n" + COMMAND.replace("WORDS", "['--version']")
    left = left.replace(
        "main(['--version'])",
        "import dtrak_stream.cli.dispatch as dispatch\n"
        "run_named = dispatch.run_named\n"
        "def loads_more(words):\n"
        "    atexit.register(print, 'left for the end')\n"
        "    run_named(words)\n"
        "dispatch.run_named = loads_more\n"
        "main(['--version'])",
    )
    code, lines = run(tmp_path, left)
    assert code == 0
    assert lines[1:] == ["left for the end"]


def test_a_program_that_calls_commands_ends_as_it_would(tmp_path: Path) -> None:
    program = COMMAND.replace(
        "main(WORDS)",
        "def one_of_many():\n"
        "    try:\n"
        "        main(['no-such-command'])\n"
        "    except SystemExit:\n"
        "        print('goes on')\n"
        "one_of_many()",
    )
    code, lines = run(tmp_path, program)
    assert code == 0
    assert lines == ["goes on", "taken apart"]


def test_a_command_that_fails_ends_as_it_would(tmp_path: Path) -> None:
    failing = COMMAND.replace(
        "main(WORDS)",
        "import dtrak_stream.cli.dispatch as dispatch\n"
        "def fails(words):\n"
        "    raise RuntimeError\n"
        "dispatch.run_named = fails\n"
        "main([])",
    )
    code, lines = run(tmp_path, failing)
    assert code == 1
    assert lines == ["taken apart"]
