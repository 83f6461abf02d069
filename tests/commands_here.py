"""Runs commands in this process: a process of their own would import torch each time."""

from __future__ import annotations

import contextlib
import io
import signal
from dataclasses import dataclass

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
