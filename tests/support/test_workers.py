"""Jobs side by side: their results, their refusals, and what Ctrl-C and kill do to them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.popen_forkserver import Popen
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from dtrak_stream.errors import InputError
from dtrak_stream.support.workers import _become_worker, interruptible, run_jobs


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


def test_ctrl_c_while_the_second_worker_starts_ends_both(tmp_path, monkeypatch):
    launched: list[Popen] = []
    initialise = Popen.__init__

    def press_at_the_second(popen: Popen, process: BaseProcess) -> None:
        initialise(popen, process)
        launched.append(popen)
        while os.getpgid(popen.pid) != popen.pid:  # until it is ready for jobs
            time.sleep(0.01)
        if len(launched) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Popen, "__init__", press_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(note_interrupt, [tmp_path] * 4, workers=2))
    assert len(launched) == 2
    assert [popen.wait(timeout=20) for popen in launched] == [0, 0]
    interrupted = {path.stem for path in tmp_path.glob("*.interrupted")}
    assert {path.name for path in started(tmp_path)} == interrupted


def test_an_interrupt_between_two_jobs_ends_the_next(tmp_path):
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_become_worker) as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(note_interrupt, tmp_path).result()
    assert started(tmp_path) == []
