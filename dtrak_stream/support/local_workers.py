"""Dask workers on this machine: a process each, that end with the process that started them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

import dask
from distributed import Nanny, Scheduler
from distributed.deploy.spec import SpecCluster

from dtrak_stream.support.cluster_options import (
    THREADS,
    WORKER_DEVICE,
    ClusterOptions,
    threads_of_workers,
)

_LOGS = logging.CRITICAL  # what goes wrong is raised, and what is left to say is how it ends
_AS_FORKED = {
    "distributed.worker.multiprocessing-method": "forkserver",
    "distributed.nanny.pre-spawn-environ": {},
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def local_workers(options: ClusterOptions, modules: Sequence[str]) -> Iterator[str]:
    """Start a scheduler in this process and its workers, one thread and one device each.

    Parameters
    ----------
    options
        How many, on which devices.
    modules
        What they will need: one process imports it, and all workers are forked from that one.

    Yields
    ------
    str
        Address of the scheduler, which only this machine can reach.
    """
    devices = options.device_names() or (None,) * options.processes
    workers = {
        number: {"cls": Nanny, "options": _nanny({} if name is None else {WORKER_DEVICE: name})}
        for number, name in enumerate(devices)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
            "host": "127.0.0.1",
            "port": 0,
        },
    }
    with (
        _signals_left_to_this_process(),
        _environment_of_workers(len(workers)),
        dask.config.set(_AS_FORKED),
    ):
        _import_once(modules)
        cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=_LOGS)
    try:
        yield cluster.scheduler_address
    finally:
        cluster.close()


def _nanny(environment: Mapping[str, str]) -> dict[str, object]:
    return {
        "nthreads": 1,
        "memory_limit": None,  # the work plans its own
        "dashboard": False,
        "host": "127.0.0.1",
        "silence_logs": _LOGS,
        "env": dict(environment),
    }


def _import_once(modules: Sequence[str]) -> None:
    """Start the process that workers are forked from, unless it runs already."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    forkserver.ensure_running()


@contextmanager
def _environment_of_workers(workers: int) -> Iterator[None]:
    """Let numerical libraries of workers that are started inside take all cores together.

    Where this process was told how many threads it takes, each worker takes as many.
    """
    before = dict(os.environ)
    if not any(name in before for name in THREADS):
        fair = threads_of_workers(workers, 0)
        os.environ.update(dict.fromkeys(THREADS, str(fair)))
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _signals_left_to_this_process() -> Iterator[None]:
    """Let processes that are started inside, or by threads that are, get no Ctrl-C or SIGTERM.

    A terminal sends Ctrl-C to all processes of a command. Its workers end with it, or when they
    are told to: by then they have kept what they have. A signal that arrives here meanwhile waits
    until workers are there to be ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # whoever starts it gets all signals again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
