"""A Dask scheduler and its workers: imported late, since loading the client takes a second."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from dask.delayed import Delayed
from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError

from dtrak_stream.errors import ClusterError, InputError
from dtrak_stream.support.cluster_options import ClusterOptions
from dtrak_stream.support.in_turn import in_turn
from dtrak_stream.support.local_workers import local_workers
from dtrak_stream.support.progress import say
from dtrak_stream.support.shared_work import Cluster
from dtrak_stream.support.stopping import stop, stop_wanted, working_for

Job = TypeVar("Job")
Result = TypeVar("Result")

_CONNECT_SECONDS = 10
_SHARE_OF_MEMORY = 0.5  # the rest is the process itself; from 0.6 on Dask writes results to disk
_LOST = (CancelledError, CommClosedError, OSError, TimeoutError)


@contextmanager
def open_client(options: ClusterOptions, modules: Sequence[str] = ()) -> Iterator[Client]:
    """Connect to a scheduler, or to one that is started here together with its workers.

    Parameters
    ----------
    options
        Which workers.
    modules
        What workers that are started here will need.

    Raises
    ------
    InputError
        If no scheduler answers at the address, or it has no workers.
    """
    if options.scheduler is None:
        with local_workers(options, modules) as address, _client(address) as client:
            client.wait_for_workers(options.processes)
            yield client
        return
    with _client(options.scheduler) as client:
        if not client.nthreads():
            raise InputError(
                "the scheduler has no workers",
                where=f"--scheduler {options.scheduler}",
                remedy=f"start some: dask worker {options.scheduler}",
            )
        yield client


def _client(address: str) -> Any:
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers ({error})",
            where=f"--scheduler {address}",
            remedy="check the address, or leave the option out to compute in this process",
        ) from error


@dataclass(frozen=True)
class _Answer:
    """What a job on a worker came to; `stopped` if it was told to stop before its end."""

    result: Any = None
    stopped: bool = False


def _answer(job: Any, function: Callable[[Any], Any], command: str) -> _Answer:
    """Do one job; runs on a worker, whose process must survive what Ctrl-C is to a job."""
    with working_for(command):
        if stop_wanted():
            return _Answer(stopped=True)
        try:
            return _Answer(function(job))
        except KeyboardInterrupt:
            return _Answer(stopped=True)


class DaskCluster(Cluster):
    """The workers of a scheduler; see `Cluster`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._where = f"--scheduler {client.scheduler.address}"
        threads = client.nthreads()
        self.workers = sum(threads.values())
        self.threads = self.fewest_threads = max(threads.values())
        self.memory = _memory_of(client.scheduler_info(n_workers=-1)["workers"].values())

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """See `Cluster`."""
        command = uuid.uuid4().hex
        futures = self._client.map(
            _answer, list(jobs), function=function, command=command, pure=False
        )
        try:
            for future in self._completed(futures):
                answer = self._result(future)
                if answer.stopped:
                    self._refuse("a worker was told to stop by somebody else")
                future.release()
                yield answer.result
        except BaseException:
            self._stop(command, futures)
            raise

    def everywhere(self, function: Callable[..., object], *arguments: object) -> None:
        """See `Cluster`."""
        if self._client.status == "running":
            with contextlib.suppress(*_LOST):
                self._client.run(function, *arguments)

    def in_order(
        self,
        tasks: Iterable[Delayed],
        ahead: int,
        *,
        at_a_time: int,  # noqa: ARG002
    ) -> Iterator[Any]:
        """See `Cluster`; a result leaves the workers when it is taken."""
        futures: list[Future] = []

        def begin(each: Delayed) -> Future:
            futures.append(self._client.compute(each))
            return futures[-1]

        def take(future: Future) -> Any:
            result = self._result(future)
            futures.remove(future)
            future.release()
            return result

        try:
            yield from in_turn(begin, tasks, ahead, take)
        except BaseException:
            self._cancel(futures)
            raise

    def _completed(self, futures: Sequence[Future]) -> Iterator[Future]:
        done: Iterator[Future] = as_completed(futures, loop=self._client.loop)
        return done

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except KilledWorker as error:
            self._refuse(
                f"{error.allowed_failures + 1} workers ended, one after the other, at the same "
                "piece of work",
                "look at their logs; where memory is short, give fewer workers or smaller pieces",
            )
        except _LOST as error:
            if future.status == "error":  # what the work itself raised
                raise
            self._refuse(f"the scheduler is lost ({type(error).__name__})")

    def _refuse(self, what: str, then: str = "when it is there again") -> NoReturn:
        remedy = f"what is finished is kept: run the same command again, {then}"
        raise ClusterError(what, where=self._where, remedy=remedy)

    def _stop(self, command: str, futures: Sequence[Future]) -> None:
        """Tell running jobs to stop and wait until they have kept what they have."""
        if self._client.status != "running":
            return
        self.everywhere(stop, command)
        with contextlib.suppress(*_LOST):
            processing = {key for keys in self._client.processing().values() for key in keys}
            running = [future for future in futures if future.key in processing]
            self._cancel([future for future in futures if future.key not in processing])
            if running:
                say("waiting for workers to keep what they have (Ctrl-C again: do not wait)")
                for _ in self._completed(running):
                    pass
        self._cancel(futures)

    def _cancel(self, futures: Sequence[Future]) -> None:
        with contextlib.suppress(*_LOST):
            self._client.cancel(list(futures))


def _memory_of(workers: Iterable[Mapping[str, Any]]) -> int | None:
    """Return what arrays may take on the worker that has least memory; None without limits."""
    limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
    return int(_SHARE_OF_MEMORY * min(limits)) if limits else None
