"""Run one command and write down what it cost: `launcher.py RESULT.json COMMAND...`.

A file to run by its path, with nothing but the standard library. Linux counts the memory that a
process had before exec into its peak: a command started straight from a process that has loaded
torch would seem to need all of that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

_BYTES_IN_MAXRSS = 1 if sys.platform == "darwin" else 1024


def main(result: str, *command: str) -> int:
    """Run `command`, write its cost to the file `result`, return its exit code."""
    begin = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ)
    signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(child, number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the command as well
    _, status, usage = os.wait4(child, 0)
    cost = {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * _BYTES_IN_MAXRSS,
    }
    Path(result).write_text(json.dumps(cost))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
