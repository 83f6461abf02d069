"""Another process that holds claims, as a command that runs beside does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD = """
import sys, time
from pathlib import Path
from dtrak_stream.support.claims import Claims
with Claims() as claims:
    for name in sys.argv[2:]:
        assert claims.take(Path(sys.argv[1], name))
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(folder: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds claims until it is stopped."""
    command = [sys.executable, "-c", _HOLD, str(folder), *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
