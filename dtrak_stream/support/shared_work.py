"""Work that several workers share: what every place that does work can be asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from dask.delayed import Delayed

Job = TypeVar("Job")
Result = TypeVar("Result")


class Cluster(ABC):
    """A place that does work.

    Attributes
    ----------
    workers
        How many tasks run at a time.
    threads
        How many of them run in one process at most.
    fewest_threads
        How many that can be brought down to.
    memory
        Bytes that arrays may take in a process; None where nothing but the machine limits them.
    """

    workers: int
    threads: int
    fewest_threads: int
    memory: int | None = None

    def at_a_time(self, threads: int) -> int:
        """Return how many tasks run at a time with so many in each process."""
        return min(self.workers, self.workers * threads // self.threads)

    @abstractmethod
    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield `function(job)` of each job as it is done.

        If a job fails, or Ctrl-C arrives, jobs that are running are told to stop (see
        `stop_wanted`) and waited for; a second Ctrl-C does not wait.

        Raises
        ------
        ClusterError
            If the scheduler is lost, or a job ended several workers.
        """

    @abstractmethod
    def everywhere(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in each process that does work; nothing if they cannot be reached."""

    @abstractmethod
    def in_order(self, tasks: Iterable[Delayed], ahead: int, *, at_a_time: int) -> Iterator[Any]:
        """Yield the result of each Dask task, in their order; some are computed ahead.

        In this process, tasks that run are told to stop (see `stop_wanted`) when no more results
        are taken.

        Parameters
        ----------
        tasks
            Taken when there is room for them.
        ahead
            How many are computed, or wait to be taken, at a time.
        at_a_time
            How many tasks a process may run at a time, between `fewest_threads` and `threads`.

        Raises
        ------
        ClusterError
            If the scheduler is lost, or a task ended several workers.
        """
