"""Jobs side by side: their results, their refusals, and what Ctrl-C and kill do to them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dtrak_stream.errors import InputError
from dtrak_stream.support.workers import interruptible, run_jobs


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def refuse(number: int) -> int:
    if number == 1:
        raise InputError("is bad", where=f"job {number}", remedy="give another")
    return number


def note_interrupt(folder: Path) -> None:
    """Sleep for a minute, and leave a file if that is interrupted."""
    name = f"{os.getpid()}"
    with interruptible():
        try:
            (folder / name).touch()
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / f"{name}.interrupted").touch()
            raise


def started(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ""]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers):
    results = dict(run_jobs(square, range(5), workers=workers))
    assert sorted(results) == [0, 1, 4, 9, 16]
    assert (os.getpid() in results.values()) == (workers == 1)


@pytest.mark.parametrize(("jobs", "apart"), [(0, False), (1, False), (2, True)])
def test_a_job_that_is_alone_runs_in_this_process(jobs, apart):
    results = dict(run_jobs(square, range(jobs), workers=2))
    assert len(results) == jobs
    assert (os.getpid() in results.values()) == (jobs > 0 and not apart)


@pytest.mark.parametrize("workers", [1, 2])
def test_refusal_of_a_job_comes_out_whole(workers):
    with pytest.raises(InputError, match="job 1: is bad; give another"):
        list(run_jobs(refuse, range(3), workers=workers))


def test_ctrl_c_interrupts_running_jobs_and_starts_no_more(tmp_path):
    def press_when_both_run() -> None:
        while len(started(tmp_path)) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_when_both_run, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(note_interrupt, [tmp_path] * 4, workers=2))
    workers = {path.name for path in started(tmp_path)}
    assert len(workers) == 2
    assert {path.stem for path in tmp_path.glob("*.interrupted")} == workers
