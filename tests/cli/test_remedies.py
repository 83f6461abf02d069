"""What texts of the package tell a reader to run is there: the command, and its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dtrak_stream
from dtrak_stream.cli.commands import COMMANDS, Command, CommandGroup
from tests.commands_here import described

SOURCES = Path(dtrak_stream.__file__).parent


def texts(source: Path) -> Iterator[str]:
    """Return every text of a module, in one line each, whatever is computed in it left out."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
            yield " ".join(" ".join(map(str, parts)).split())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


def told(text: str) -> list[tuple[str, str]]:
    """Return each command that a text names, with its words up to the next mark or command."""
    return re.findall(r"\bdtrak-stream ([a-z][a-z-]*)((?:(?!dtrak-stream)[^,;:)])*)", text)


TOLD = {
    (command, options): source
    for source in sorted(SOURCES.rglob("*.py"))
    if "cli" not in source.parts
    for text in texts(source)
    for command, options in told(text)
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run dtrak-stream gram first", [("gram", " first")]),
        ("with dtrak-stream a-b --x 1, then --y", [("a-b", " --x 1")]),
        ("dtrak-stream gram and dtrak-stream score", [("gram", " and "), ("score", "")]),
        ("package dtrak-stream, folder dtrak-stream/gram", []),
    ],
)
def test_commands_are_found_in_a_text(text, expected):
    assert told(text) == expected


def test_refusals_name_commands_and_no_files_of_the_repository():
    assert len(TOLD) > 20
    for source in SOURCES.rglob("*.py"):
        assert not [text for text in texts(source) if re.search(r"tools/\w+\.py", text)], source


@pytest.mark.parametrize(("name", "words"), TOLD)
def test_every_command_that_a_text_names_exists_with_its_options(name, words):
    command = COMMANDS[name]
    if isinstance(command, CommandGroup) and not words.strip():
        return  # the group as a whole
    if isinstance(command, CommandGroup):
        command = command.commands[words.split()[0].strip("`")]
    assert isinstance(command, Command)
    known = set(described(command.options()))
    assert set(re.findall(r"--[a-z][a-z0-9-]*", words)) <= known
