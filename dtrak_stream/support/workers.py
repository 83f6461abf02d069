"""Long jobs side by side: in this process, in processes of this machine, or on a Dask scheduler."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_told_to_stop = threading.Event()  # in a worker: between two jobs there is nothing to interrupt


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[Result]:
    """Call `function` on each job and yield the results as they come.

    If a job fails, or Ctrl-C arrives, local jobs that are running are interrupted as if Ctrl-C
    had been pressed on them and are waited for, so that they can keep their work. Jobs on a Dask
    scheduler that are already running go on to their end there.

    Parameters
    ----------
    function
        A function at the top level of a module, which may catch KeyboardInterrupt.
    jobs
        What it is called with; jobs and results are pickled unless they stay in this process.
    workers
        Number of processes; with 1 the jobs run in this one.
    scheduler
        Address of a Dask scheduler whose workers see the same files; `workers` does not count
        then.

    Raises
    ------
    InputError
        If no scheduler answers.
    """
    if scheduler is not None:
        from dtrak_stream.support.scheduler import results_from  # loads Dask's client

        yield from results_from(scheduler, function, jobs)
    elif workers == 1 or len(jobs) < 2:
        yield from map(function, jobs)
    else:
        yield from _in_processes(function, jobs, min(workers, len(jobs)))


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt inside, where a pool ignores them outside.

    A SIGINT that a worker got before it was inside is raised as soon as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        if _told_to_stop.is_set():
            raise KeyboardInterrupt
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[Result]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_become_worker)
    try:
        yield from _a_job_for_each(pool, function, jobs, workers)
    except BaseException:
        _interrupt_and_wait(pool, set(multiprocessing.active_children()) - others)
        raise
    pool.shutdown()


def _interrupt_and_wait(pool: ProcessPoolExecutor, children: set[BaseProcess]) -> None:
    """Interrupt running jobs and wait for them to keep their work; a second Ctrl-C kills them."""
    for child in children:
        if child.pid is not None:
            os.kill(child.pid, signal.SIGINT)
    try:
        pool.shutdown(cancel_futures=True)
    except KeyboardInterrupt:
        for child in children:
            child.kill()
        raise


def _a_job_for_each(
    pool: ProcessPoolExecutor,
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
) -> Iterator[Result]:
    """Submit a job when a worker is free: what a pool holds in its queue cannot be cancelled."""
    waiting = iter(jobs)
    running: set[Future[Result]] = set()
    while True:
        for job in islice(waiting, workers - len(running)):
            with _signals_kept():
                running.add(pool.submit(function, job))
        if not running:
            return
        done, running = wait_for(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let what SIGINT and SIGTERM raise wait until all inside is done.

    A process that is being started may run its job before this one knows of it: interrupted in
    between, it would never be told to stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handled = [number for number in _SIGNALS if callable(signal.getsignal(number))]
    before = {
        number: signal.signal(number, lambda which, _: arrived.append(which)) for number in handled
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for each in arrived:
        signal.raise_signal(each)


def _become_worker() -> None:
    """Leave the terminal's Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, lambda *_: _told_to_stop.set())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _interrupt(_signal: int, _frame: FrameType | None) -> Any:
    raise KeyboardInterrupt
