"""Where work runs: threads of this process, or an existing Dask scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dask
import dask.threaded
from dask.delayed import Delayed, delayed


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
            # asked for by its name, Dask would import its scheduler of clusters besides
            threads = dask.threaded.get
            yield Cluster(
                workers, lambda tasks: list(dask.compute(*tasks, scheduler=threads, pool=pool))
            )
        return
    from dtrak_stream.support.scheduler import open_client

    with open_client(scheduler) as client:
        workers = sum(client.nthreads().values())
        yield Cluster(workers, lambda tasks: list(client.gather(client.compute(list(tasks)))))


def task(function: Callable[..., Any], *arguments: Any) -> Delayed:
    """Return a Dask task that calls `function` with `arguments` as they are."""
    return delayed(function, pure=False, traverse=False)(*arguments)
