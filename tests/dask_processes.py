"""A scheduler and workers as processes, as `dask scheduler` and `dask worker` start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from distributed import Client

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class DaskProcesses(AbstractContextManager["DaskProcesses"]):
    """A scheduler and workers; all that are left are killed at the end of a `with` block."""

    def __init__(self, folder: Path, workers: int) -> None:
        folder.mkdir()
        self._file = folder / "scheduler.json"
        file = ["--scheduler-file", str(self._file)]
        options = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        self._folder = folder
        self.scheduler = self._start("scheduler", *file, *options)
        self.workers = [
            self._start("worker", *file, "--nthreads", "1", "--no-nanny", "--no-dashboard")
            for _ in range(workers)
        ]

    @property
    def address(self) -> str:
        """Wait until the scheduler answers and has all workers; return its address."""
        deadline = time.monotonic() + 60
        while not (self._file.exists() and self._file.read_text().strip().endswith("}")):
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.05)
        address: str = json.loads(self._file.read_text())["address"]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=120)
        return address

    def _start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
        with (self._folder / f"{kind}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=Path(__file__).parents[1], env=ENVIRONMENT, stdout=log, stderr=log
            )

    def __exit__(self, *raised: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.send_signal(signal.SIGKILL)
            process.wait()
