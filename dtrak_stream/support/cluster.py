"""Where work runs: threads of this process, workers on this machine, or a Dask scheduler."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import dask
import dask.threaded
from dask.delayed import Delayed, delayed

from dtrak_stream.support.cluster_options import HERE, ClusterOptions
from dtrak_stream.support.in_turn import in_turn
from dtrak_stream.support.shared_work import Cluster
from dtrak_stream.support.stopping import stop, work_for

Job = TypeVar("Job")
Result = TypeVar("Result")


class Threads(Cluster):
    """This process: jobs one after the other, tasks of Dask in threads."""

    fewest_threads = 1

    def __init__(self, workers: int) -> None:
        self.workers = self.threads = workers

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """See `Cluster`; Ctrl-C interrupts the job at hand."""
        return map(function, jobs)

    def everywhere(self, function: Callable[..., object], *arguments: object) -> None:
        """See `Cluster`."""
        function(*arguments)

    def in_order(self, tasks: Iterable[Delayed], ahead: int, *, at_a_time: int) -> Iterator[Any]:
        """See `Cluster`."""
        command = uuid.uuid4().hex
        working = ThreadPoolExecutor(at_a_time, initializer=work_for, initargs=(command,))
        with working as pool, ThreadPoolExecutor(ahead) as waiting:
            try:
                yield from in_turn(
                    lambda each: waiting.submit(_compute, each, pool), tasks, ahead, _result
                )
            except BaseException:
                # what runs in the pool is told to end; what waits for it finds no pool any more
                stop(command)
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _compute(each: Delayed, pool: ThreadPoolExecutor) -> Any:
    # asked for by its name, Dask would import its scheduler of clusters besides
    (result,) = dask.compute(each, scheduler=dask.threaded.get, pool=pool)
    return result


def _result(future: Any) -> Any:
    return future.result()


@contextmanager
def connect(options: ClusterOptions = HERE, *functions: Callable[..., Any]) -> Iterator[Cluster]:
    """Connect to where work runs; local workers are started, and end with the `with` block.

    Parameters
    ----------
    options
        Where that is.
    functions
        What will be run there: workers that are started import it together.

    Raises
    ------
    InputError
        If no scheduler answers at the address, or it has no workers.
    """
    if options.is_this_process:
        yield Threads(os.cpu_count() or 1)
        return
    from dtrak_stream.support.scheduler import DaskCluster, open_client  # takes a second to load

    modules = [function.__module__ for function in functions]
    with open_client(options, modules) as client:
        yield DaskCluster(client)


def task(function: Callable[..., Any], *arguments: Any) -> Delayed:
    """Return a Dask task that calls `function` with `arguments` as they are.

    Those that are Dask tasks themselves stand for their results.
    """
    return delayed(function, pure=False, traverse=False)(*arguments)
