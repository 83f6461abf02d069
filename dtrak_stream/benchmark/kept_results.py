"""Benchmark jobs each of which keeps its own results: what is there already is not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from dtrak_stream.errors import InterruptedRunError
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.cluster_options import ClusterOptions
from dtrak_stream.support.progress import progress

Job = TypeVar("Job")


def finish_jobs(
    jobs: Sequence[Job],
    missing: Sequence[Job],
    run: Callable[[Job], None],
    where: ClusterOptions,
    *,
    description: str,
    kept: str,
    place: str,
    visible: bool,
) -> None:
    """Run the jobs that are missing, each in one process, with progress over all of them.

    Parameters
    ----------
    jobs, missing
        All of them, and those whose results are not there.
    run
        Computes what a job is about and keeps it; can be sent.
    where
        Where jobs run.
    description
        What is done, in the progress bar.
    kept, place
        What is kept, and where, for whoever interrupts.
    visible
        Whether to show the bar.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. What finished jobs kept stays.
    """
    done = len(jobs) - len(missing)
    with progress(
        len(jobs), description=description, unit="feature set", done=done, visible=visible
    ) as bar:
        try:
            with connect(where, run) as cluster:
                for _ in cluster.run(run, missing):
                    done += 1
                    bar.update()
        except KeyboardInterrupt as interrupt:
            raise InterruptedRunError(
                f"{kept} of {done} of {len(jobs)} sets of features are kept {place}"
            ) from interrupt
