"""Runs the real tools in this process: a process of their own would import torch each time."""

from __future__ import annotations

import contextlib
import io
import runpy
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench.py"


@dataclass(frozen=True)
class Told:
    """What a tool printed, and how it ended."""

    stdout: str
    stderr: str
    code: int


def run_tool(path: str, *arguments: str) -> Told:
    before, handler = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = [path, *arguments]
    stdout, stderr = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as stop,
        ):
            runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, handler)
    return Told(stdout.getvalue(), stderr.getvalue(), int(str(stop.value.code or 0)))


def run_bench(*arguments: str) -> Told:
    return run_tool(str(BENCH), *arguments)
