"""What a command costs: wall time and peak memory of its process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_QUARANTINED
from dtrak_stream.errors import InputError

_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Cost:
    """What one process cost.

    Attributes
    ----------
    seconds
        From its start to its end.
    peak_bytes
        The most memory it held at any time.
    """

    seconds: float
    peak_bytes: int


def measure_command(command: Sequence[str]) -> Cost:
    """Run a command to its end.

    Raises
    ------
    InputError
        If it fails, with the last line it printed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        cost, log = Path(scratch) / "cost.json", Path(scratch) / "log"
        code = _run([sys.executable, "-I", "-S", str(_LAUNCHER), str(cost), *command], log)
        if code not in (EXIT_DONE, EXIT_QUARANTINED):
            raise _failed(command, code, log.read_text(errors="replace"))
        return Cost(**json.loads(cost.read_text()))


def _run(command: Sequence[str], log: Path) -> int:
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # the launcher hands it on to the command
            process.wait()
            raise


def _failed(command: Sequence[str], code: int, log: str) -> InputError:
    last = ([line for line in log.splitlines() if line.strip()] or ["it printed nothing"])[-1]
    return InputError(
        f"ended with exit code {code} ({last.strip()})",
        where=" ".join(command[1:]),
        remedy="change what it says, or run that tool by itself to see more",
    )
