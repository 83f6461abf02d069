"""Runs commands in this process, where torch is imported already, and knows their options."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import signal
import textwrap
from dataclasses import dataclass
from typing import get_args, get_type_hints

import pytest

from dtrak_stream.cli.main import main


@dataclass(frozen=True)
class Told:
    """What a command printed, and how it ended."""

    stdout: str
    stderr: str
    code: int


def run_command(*arguments: str) -> Told:
    handler = signal.getsignal(signal.SIGTERM)
    stdout, stderr = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as stop,
        ):
            main(arguments)
    finally:
        signal.signal(signal.SIGTERM, handler)
    return Told(stdout.getvalue(), stderr.getvalue(), int(str(stop.value.code or 0)))


def run_bench(*arguments: str) -> Told:
    return run_command("bench", *arguments)


def squeezed(text: str | None) -> str:
    """Drop frames and white space, which depend on the width of the screen."""
    return "".join((text or "").split()).translate(dict.fromkeys(map(ord, "│╭╮╰╯─")))


def described(config_type: type) -> dict[str, str]:
    """Return the flag of every option with the text about it."""
    kinds = get_type_hints(config_type, include_extras=True)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config_type))).body
    assert isinstance(tree, ast.ClassDef)
    options: dict[str, str] = {}
    for line, below in zip(tree.body, [*tree.body[1:], None]):
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
            continue
        name = line.target.id
        kind, *notes = get_args(kinds[name]) or [kinds[name]]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            options |= described(kind)
            continue
        text = below.value if isinstance(below, ast.Expr) else None
        assert isinstance(text, ast.Constant), f"{config_type.__name__}.{name} is not described"
        from_a_table = [note.help for note in notes if getattr(note, "help", None)]
        options[f"--{name.replace('_', '-')}"] = (from_a_table or [str(text.value)])[0]
    return options
