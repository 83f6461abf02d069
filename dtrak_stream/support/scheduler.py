"""An existing Dask scheduler: imported late, since loading the client of one takes a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from distributed import Client, as_completed

from dtrak_stream.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")

_CONNECT_SECONDS = 10


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


def results_from(
    scheduler: str, function: Callable[[Job], Result], jobs: Sequence[Job]
) -> Iterator[Result]:
    """Yield `function(job)` of each job as it is done; what is left undone is cancelled.

    Raises
    ------
    InputError
        If no scheduler answers at the address, or it has no workers.
    """
    with open_client(scheduler) as client:
        futures = client.map(function, list(jobs), pure=False)
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            client.cancel(futures)
            raise
