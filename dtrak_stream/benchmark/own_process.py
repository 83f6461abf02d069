"""Measurements in a process of their own, whose peak memory is that of one thing alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.support.cluster_options import THREADS


class MeasuringFailedError(DtrakStreamError):
    """A process that was to be measured failed."""


def answer_of(
    module: str,
    told: object,
    *,
    where: str,
    remedy: str,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Return what a module of this package, run as a process, answers.

    Parameters
    ----------
    module
        Its name. It finds `told` as JSON in its first argument, and prints JSON in its last line.
    told
        What it is to measure.
    where, remedy
        Of the refusal.
    environment
        Variables that it finds besides those of this process.

    Raises
    ------
    MeasuringFailedError
        With the end of what the process printed.
    """
    command = [sys.executable, "-m", module, json.dumps(told)]
    found = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=found)
    if done.returncode != 0:
        what = f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
        raise MeasuringFailedError(what, where=where, remedy=remedy)
    return json.loads(done.stdout.splitlines()[-1])


def one_thread() -> dict[str, str]:
    """Return the environment of a process whose libraries compute on one thread."""
    return {**os.environ, **dict.fromkeys(THREADS, "1")}
