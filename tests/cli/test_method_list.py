"""`--method list`: the table instead of a run, without any other option."""

from __future__ import annotations

import pytest

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.methods import METHODS
from tests.small_jobs import run_tool


@pytest.mark.parametrize("tool", ["score", "attribute"])
@pytest.mark.parametrize("words", [["--method", "list"], ["--method=list"]])
def test_the_list_of_methods_has_a_line_for_each(tool, words, capsys):
    code, out, errors = run_tool(tool, words, capsys)
    assert (code, errors) == (EXIT_DONE, "")
    header, *lines = out.split("\n\n")[0].splitlines()
    assert header.split() == ["name", "formula", "source", "needs", "cost"]
    assert [line.split()[0] for line in lines] == list(METHODS)
    for line, method in zip(lines, METHODS.values()):
        assert all(cell in line for cell in (method.formula, method.source, method.cost))


def test_an_unknown_method_is_refused_with_a_hint_at_the_list(capsys):
    words = ["--method", "magic", "--train", "a", "--query", "b"]
    code, _, errors = run_tool("score", words, capsys)
    assert code == EXIT_REFUSED
    assert "--method list describes them" in errors
