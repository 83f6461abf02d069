"""Killing the runs of each method, computing them again undisturbed, and comparing."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dtrak_stream.benchmark.kills.lives import Killing, Life, count_shards, live
from dtrak_stream.benchmark.kills.options import KillsConfig, MethodName
from dtrak_stream.benchmark.kills.pace import Pace
from dtrak_stream.benchmark.kills.same_bytes import compare, copy_without, shard_names
from dtrak_stream.benchmark.kills.subject import KillsSubject, make_subject
from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.benchmark.own_process import MeasuringFailedError
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.support.progress import say

_HEADINGS = (
    "run",
    "kills",
    "seconds",
    "CPU s",
    "first tenth, images / CPU s",
    "last tenth",
    "last / first",
    "first tenth, images / s",
    "last tenth",
    "shards compared",
    "of other bytes",
    "rows computed again",
)


def measure_kills(config: KillsConfig) -> BenchmarkResult:
    """Kill runs at random and tell what was lost; see `KillsConfig`.

    Raises
    ------
    InputError, CorruptFileError
        If the images are not there, or not what they should be.
    MeasuringFailedError
        If a process that was not killed fails, or a killed run has other bytes.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    with made_folder("kills-", config.work) as folder:
        subject = make_subject(config, folder)
        runs = [
            run
            for method in config.methods
            for run in _Method(config, subject, method, folder).measured()
        ]
    numbers: dict[str, Any] = {"benchmark": "kills", "about": subject.words, "runs": runs}
    page = as_markdown(numbers, config)
    return write_results(config.out, config, measured_on, numbers, page)


def moments(config: KillsConfig) -> list[Killing]:
    """Return when to kill, in order: each in another shard, the last but one at the latest."""
    draw = random.Random(config.seed)
    shards = sorted(draw.sample(range(1, config.num_shards - 1), config.kills))
    return [Killing(shard, draw.random()) for shard in shards]


@dataclass(frozen=True)
class _Method:
    """The runs of one method."""

    config: KillsConfig
    subject: KillsSubject
    method: MethodName
    folder: Path

    def measured(self) -> list[dict[str, Any]]:
        """Return the numbers of the killed run, and of the undisturbed one where it is whole."""
        store = self.folder / self.method / "killed"
        store.parent.mkdir()
        killed = self._numbers("killed", self._killed(store))
        others = self.folder / self.method / "undisturbed"
        whole = self.method in self.config.whole
        names = self._again(store, others) if not whole else []
        command = self.subject.command(self.config, self.method, others)
        undisturbed = live(command, others, self._log)
        compared = compare(store, others, names or shard_names(others))
        killed |= {"compared": asdict(compared), "deep_rows": self._verified(store)}
        _refuse_others(self.method, compared.others)
        return [killed, *([self._numbers("undisturbed", [undisturbed])] if whole else [])]

    @property
    def _log(self) -> Path:
        return self.folder / self.method / "log"

    def _killed(self, store: Path) -> list[Life]:
        command = self.subject.command(self.config, self.method, store)
        lives = []
        for killing in moments(self.config):
            lives.append(live(command, store, self._log, killing))
            shards = f"{count_shards(store)} of {self.config.num_shards} shards"
            say(f"{self.method}: killed after {lives[-1].seconds:.1f} s, {shards} are there")
        lives.append(live(command, store, self._log))
        return lives

    def _again(self, store: Path, copy: Path) -> list[str]:
        """Copy a store without some shards, which are to be computed again; return their names."""
        names = shard_names(store)
        drawn = random.Random(self.config.seed).sample(names, max(1, len(names) // 10))
        copy_without(store, copy, drawn)
        return drawn

    def _verified(self, store: Path) -> int:
        """Check every checksum, and compute some rows again; return how many."""
        rows, log = self.config.deep, self._log
        command = [sys.executable, "-m", "dtrak_stream", "verify", "--quiet"]
        live([*command, "--run", str(store), "--deep", str(rows)], store, log)
        return rows

    def _numbers(self, name: str, lives: Sequence[Life]) -> dict[str, Any]:
        config = self.config
        pace = Pace(config.num_shards, config.rows_per_shard, config.images)
        return {
            "method": self.method,
            "run": name,
            "kills": sum(life.was_killed for life in lives),
            "seconds": sum(life.seconds for life in lives),
            "cpu_seconds": sum(life.cpu_seconds for life in lives),
            "first_tenth": asdict(pace.of_first_tenth(lives)),
            "last_tenth": asdict(pace.of_last_tenth(lives)),
            "lives": [asdict(life) for life in lives],
        }


def _refuse_others(method: str, others: Sequence[str]) -> None:
    if others:
        raise MeasuringFailedError(
            f"shards {', '.join(others)} of a killed run have other bytes than undisturbed",
            where=f"bench kills, {method}",
            remedy="report it",
        )


def as_markdown(numbers: dict[str, Any], config: KillsConfig) -> str:
    """Return title and table."""
    return "\n\n".join(
        (
            "# Killed and started again",
            f"{config.images:,} {numbers['about']}, 8x8, shards of {config.rows_per_shard:,} rows, "
            f"batches of {config.batch_size}; one thread. Each run was killed (SIGKILL) at moments "
            "drawn over the whole of it; seconds are those of all its processes, starts, imports "
            "and work that was lost included. Rates are between one shard and the next of the same "
            "process.",
            table(_HEADINGS, [_row(run) for run in numbers["runs"]]),
        )
    )


def _row(run: dict[str, Any]) -> list[str]:
    first, last = run["first_tenth"], run["last_tenth"]
    compared = run.get("compared")
    ratio = last["by_cpu"] / first["by_cpu"] if first["by_cpu"] else 0.0
    return [
        f"{run['method']}, {run['run']}",
        str(run["kills"]),
        f"{run['seconds']:,.0f}",
        f"{run['cpu_seconds']:,.0f}",
        f"{first['by_cpu']:,.0f}",
        f"{last['by_cpu']:,.0f}",
        f"{ratio:.2f}" if ratio else "–",
        f"{first['by_clock']:,.0f}",
        f"{last['by_clock']:,.0f}",
        f"{compared['shards']}" if compared else "–",
        f"{len(compared['others'])}" if compared else "–",
        f"{run['deep_rows']}" if compared else "–",
    ]
