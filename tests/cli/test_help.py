"""Help: every option of every command, described by the text below its field."""

from __future__ import annotations

import re

import pytest

import dtrak_stream
from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.cli.commands import BENCHMARKS, COMMANDS, Command
from dtrak_stream.cli.watch_options import WatchOptions
from tests.commands_here import described, run_command, squeezed

ALL = {(name,): command for name, command in COMMANDS.items() if isinstance(command, Command)} | {
    ("bench", name): command for name, command in BENCHMARKS.items()
}
every_command = pytest.mark.parametrize("words", ALL, ids=" ".join)


@every_command
def test_help_describes_every_option(words):
    told = run_command(*words, "--help")
    assert (told.code, told.stderr) == (EXIT_DONE, "")
    assert told.stdout.startswith(f"usage: dtrak-stream {' '.join(words)} [-h]")
    options = described(ALL[words].options()) | described(WatchOptions)
    assert len(options) > 1
    for flag, text in options.items():
        assert len(text.strip()) > 5, f"{flag} has no description"
        assert flag in told.stdout
        assert squeezed(text) in squeezed(told.stdout), f"{flag} is described otherwise"
    assert "--config FILE.yaml" in told.stdout


@every_command
def test_a_misspelt_option_of_any_command_is_refused_in_one_line(words):
    told = run_command(*words, "--no-such-option")
    assert (told.code, told.stdout, told.stderr.count("\n")) == (EXIT_REFUSED, "", 1)
    assert "--no-such-option" in told.stderr


@every_command
def test_no_frame_of_options_is_called_options_twice(words):
    told = run_command(*words, "--help").stdout
    titles = re.findall(r"^ ((?:\S+ )*options) *$", told, re.MULTILINE)
    assert titles[0] == "options"
    assert [title for title in titles if title.count("options") != 1] == []
    assert len(set(titles)) == len(titles)


@every_command
def test_every_command_tells_the_version(words):
    told = run_command(*words, "--version")
    assert (told.code, told.stderr) == (EXIT_DONE, "")
    assert told.stdout == f"dtrak-stream {dtrak_stream.__version__}\n"
