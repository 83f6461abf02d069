"""One command that fills a store, watched from its start to its end, natural or not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dtrak_stream.benchmark.own_process import MeasuringFailedError, one_thread
from dtrak_stream.cli.command_line import EXIT_DONE

_LOOKS_EVERY = 0.05  # seconds


@dataclass(frozen=True)
class Seen:
    """What was seen when new shards were there.

    Attributes
    ----------
    shards
        Shards in the store.
    seconds, cpu_seconds
        Since the start of this process, by the clock and of a processor.
    """

    shards: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Killing:
    """When a process is killed: a part of a shard after so many shards are in the store."""

    shards: int
    part: float


@dataclass
class Life:
    """One process.

    Attributes
    ----------
    seen
        The store at its start, and whenever shards had come.
    was_killed
        Whether it was, or ended by itself.
    seconds, cpu_seconds
        What it took in all.
    """

    seen: list[Seen] = field(default_factory=list)
    was_killed: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def live(command: Sequence[str], store: Path, log: Path, killing: Killing | None = None) -> Life:
    """Run a command that fills `store`, to its end or until it is to be killed.

    Raises
    ------
    MeasuringFailedError
        If it ends by itself with another exit code than 0, with the end of what it printed.
    """
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=one_thread()
        ) as process,
    ):
        try:
            life = _watched(process, store, killing)
        finally:
            process.kill()  # of no effect on what has ended
    if not life.was_killed and process.returncode != EXIT_DONE:
        raise MeasuringFailedError(
            f"exit code {process.returncode}: {log.read_text(errors='replace').strip()[-300:]}",
            where=" ".join(command[1:]),
            remedy="change what it says",
        )
    return life


def _watched(process: subprocess.Popen[bytes], store: Path, killing: Killing | None) -> Life:
    life, begin, load = Life(), time.perf_counter(), psutil.Process(process.pid)
    life.seen.append(Seen(count_shards(store), 0.0, 0.0))
    while process.poll() is None:
        times = load.cpu_times()
        life.seconds, life.cpu_seconds = time.perf_counter() - begin, times.user + times.system
        shards = count_shards(store)
        if shards > life.seen[-1].shards:
            life.seen.append(Seen(shards, life.seconds, life.cpu_seconds))
        if killing is not None and shards >= killing.shards and _is_over(life, killing.part):
            process.kill()
            life.was_killed = process.wait() < 0
            return life
        time.sleep(_LOOKS_EVERY)
    life.seen.append(Seen(count_shards(store), life.seconds, life.cpu_seconds))
    return life


def _is_over(life: Life, part: float) -> bool:
    """Return whether the part of a shard is over, by how long the last one took."""
    if len(life.seen) < 3:  # the first one took the start of the process, too
        return True
    last, before = life.seen[-1], life.seen[-2]
    return life.seconds - last.seconds >= part * (last.seconds - before.seconds)


def count_shards(store: Path) -> int:
    """Return how many shards are in a store under their final name."""
    return sum(1 for _ in (store / "shards").glob("[0-9]*.h5"))
