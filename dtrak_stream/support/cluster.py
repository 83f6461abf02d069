"""Where work runs: threads of this process, or an existing Dask scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from dask.delayed import Delayed, delayed
from distributed import Client

from dtrak_stream.errors import InputError

_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Cluster:
    """A place that computes Dask tasks.

    Attributes
    ----------
    workers
        How many tasks run at a time.
    compute
        Computes tasks and returns their results in order.
    """

    workers: int
    compute: Callable[[Sequence[Delayed]], Sequence[Any]]


@contextmanager
def connect(scheduler: str | None) -> Iterator[Cluster]:
    """Connect to where work runs.

    Parameters
    ----------
    scheduler
        Address of a Dask scheduler such as `tcp://host:8786`, whose workers see the same files
        and have this package installed. None for this process.

    Raises
    ------
    InputError
        If no scheduler answers at the address, or it has no workers.
    """
    if scheduler is None:
        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool:
            yield Cluster(
                workers, lambda tasks: list(dask.compute(*tasks, scheduler="threads", pool=pool))
            )
        return
    with open_client(scheduler) as client:
        workers = sum(client.nthreads().values())
        yield Cluster(workers, lambda tasks: list(client.gather(client.compute(list(tasks)))))


def task(function: Callable[..., Any], *arguments: Any) -> Delayed:
    """Return a Dask task that calls `function` with `arguments` as they are."""
    return delayed(function, pure=False, traverse=False)(*arguments)


def open_client(scheduler: str) -> Any:
    """Return a Dask client of the scheduler at this address, closed by a `with` statement.

    Raises
    ------
    InputError
        If no scheduler answers at the address, or it has no workers.
    """
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers ({error})",
            where=f"--scheduler {scheduler}",
            remedy="check the address, or leave the option out to compute in this process",
        ) from error
    if not client.nthreads():
        client.close()
        raise InputError(
            "the scheduler has no workers",
            where=f"--scheduler {scheduler}",
            remedy=f"start some: dask worker {scheduler}",
        )
    return client
