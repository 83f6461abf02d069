"""Turns of kills at random, what they left, and the table of it."""

from __future__ import annotations

import copy
import multiprocessing
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dtrak_stream.benchmark.crashes.options import CrashesConfig
from dtrak_stream.benchmark.crashes.stages import IMAGES, STAGES, Turn, work
from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.benchmark.rerun.images import save_array
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.errors import InputError
from dtrak_stream.support.progress import progress, say

_TWO_WRITERS = 0.25  # of the starts
_BOTH_ARE_KILLED = 0.5  # of those
_KILLED_AT_MOST = 4  # times in a stage, before it is let finish
_LOADED_LATE = ("diffusers.models.unets.unet_2d", "diffusers.schedulers.scheduling_ddpm")
"""What featurizing imports when it needs it, which takes longer than all its work here."""
_HEADINGS = (
    "stage",
    "kills",
    "with two writers",
    "starts",
    "finished pieces that kills left",
    "kills by how many shards were computed again",
)


@dataclass
class Tally:
    """What happened to one stage in all turns.

    Attributes
    ----------
    kills, kills_of_two
        Processes that were killed: all, and those that shared the stage with another.
    starts
        Processes that were started to be killed.
    finished_before
        Finished files that were there when a process was started.
    redone
        For each process of featurizing that was killed, how many of the shards that it computed
        features of another process computed features of afterwards.
    """

    kills: int = 0
    kills_of_two: int = 0
    starts: int = 0
    finished_before: int = 0
    redone: list[int] = field(default_factory=list)


def measure_crashes(config: CrashesConfig) -> BenchmarkResult:
    """Kill stages at random and compare what comes of it; see `CrashesConfig`.

    Raises
    ------
    InputError
        If a process fails, a finished file is written again, or any file is another than without
        kills.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    with made_folder("crashes-", config.work) as folder:
        images = save_array(folder / "images.npy", IMAGES)
        killing = Killing(config, images, folder)
        killing.run()
    numbers = {
        "benchmark": "crashes",
        "turns": killing.turns,
        "stages": {stage: vars(tally) for stage, tally in killing.tallies.items()},
    }
    page = _as_markdown(killing)
    return write_results(config.out, config, measured_on, numbers, page)


class Killing:
    """Turns until so many processes are killed as are to be.

    Attributes
    ----------
    tallies
        What happened to each stage.
    turns
        How many turns there were.
    """

    def __init__(self, config: CrashesConfig, images: Path, folder: Path) -> None:
        self.tallies = {stage: Tally() for stage in STAGES}
        self.turns = 0
        self._config, self._images, self._folder = config, images, folder
        self._random = random.Random(config.seed)
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([work.__module__, *_LOADED_LATE])
        self._seconds: dict[str, float] = {}
        self._wanted: dict[str, bytes] = {}
        self._victims: list[int] = []
        self._whole_turns = self.tallies

    @property
    def kills(self) -> int:
        """Return how many processes were killed."""
        return sum(tally.kills for tally in self.tallies.values())

    def run(self) -> None:
        """Make a turn without kills, and then turns with them."""
        whole = Turn(self._images, self._folder / "whole")
        whole.featurize_queries()
        self._import_once()
        for stage in STAGES:
            begin = time.perf_counter()
            self._finish(stage, whole)
            self._seconds[stage] = time.perf_counter() - begin
        self._wanted = whole.contents()
        times = ", ".join(f"{stage} {self._seconds[stage]:.1f} s" for stage in STAGES)
        say(f"without kills: {times}")
        visible = not self._config.quiet
        with progress(
            self._config.kills, description="crashes", unit="kill", visible=visible
        ) as bar:
            try:
                while self.kills < self._config.kills:
                    self._turn(whole.folder / "query", lambda: bar.update(self.kills - bar.n))
                    self._whole_turns = copy.deepcopy(self.tallies)
            except KeyboardInterrupt:
                self._end_with_whole_turns()

    def _import_once(self) -> None:
        """Start the server of processes, which takes long: it is no part of a stage."""
        first = self._context.Process(target=int)
        first.start()
        first.join()

    def _end_with_whole_turns(self) -> None:
        """Forget the turn at hand, and go on as if all kills were done; not without any."""
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        if not self.turns:
            raise KeyboardInterrupt
        self.tallies = self._whole_turns
        say(f"interrupted: {self.kills} kills of {self.turns} turns are told")

    def _turn(self, queries: Path, advance: Callable[[], object]) -> None:
        turn = Turn(self._images, self._folder / f"turn-{self.turns}")
        shutil.copytree(queries, turn.folder / "query")
        for stage in STAGES:
            for _ in range(self._random.randint(1, _KILLED_AT_MOST)):
                if self._start_and_kill(stage, turn):
                    break
                advance()
            self._finish(stage, turn)
        self._compare(turn)
        self._count_redone(turn)
        shutil.rmtree(turn.folder)
        turn.begun.unlink(missing_ok=True)
        self.turns += 1

    def _start_and_kill(self, stage: str, turn: Turn) -> bool:
        """Start a stage and kill it at some moment; return whether it was over before."""
        tally, before = self.tallies[stage], turn.finished()
        count = 2 if self._random.random() < _TWO_WRITERS else 1
        victims = 2 if count == 2 and self._random.random() < _BOTH_ARE_KILLED else 1
        processes = [self._started(stage, turn) for _ in range(count)]
        tally.starts += count
        killed = list[BaseProcess]()
        moments = sorted(self._random.uniform(0, self._seconds[stage]) for _ in range(victims))
        for process, last, moment in zip(processes, [0.0, *moments], moments, strict=False):
            process.join(moment - last)
            killed += [process] if _killed(process) else []
        for process in processes[victims:]:
            _require_done(process, stage)
        tally.kills += len(killed)
        tally.kills_of_two += len(killed) if count == 2 else 0
        tally.finished_before += len(before)
        if stage == STAGES[0]:
            self._victims += [process.pid for process in killed if process.pid]
        self._refuse_changed(before, turn)
        return len(killed) < count

    def _finish(self, stage: str, turn: Turn) -> None:
        before = turn.finished()
        _require_done(self._started(stage, turn), stage)
        self._refuse_changed(before, turn)

    def _started(self, stage: str, turn: Turn) -> BaseProcess:
        arguments = stage, turn.job(stage), turn.begun
        process: BaseProcess = self._context.Process(target=work, args=arguments)
        process.start()
        return process

    def _refuse_changed(self, before: dict[str, tuple[int, int]], turn: Turn) -> None:
        """Refuse that what was finished before is gone or was written again."""
        after = turn.finished()
        changed = [name for name, written in before.items() if after.get(name) != written]
        if changed:
            raise _refusal(f"{', '.join(changed)} was written again after a kill")

    def _count_redone(self, turn: Turn) -> None:
        """Count what of the work of each killed process of featurizing was done again."""
        begun = turn.begun_shards()
        for victim in self._victims:
            last = {shard: place for place, (by, shard) in enumerate(begun) if by == victim}
            after = {
                shard
                for place, (by, shard) in enumerate(begun)
                if by != victim and place > last.get(shard, len(begun))
            }
            self.tallies[STAGES[0]].redone.append(len(after))
        self._victims.clear()

    def _compare(self, turn: Turn) -> None:
        found, wanted = turn.contents(), self._wanted
        differing = sorted(
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        )
        if differing:
            raise _refusal(f"{', '.join(differing)} differs from the same without kills")


def _killed(process: BaseProcess) -> bool:
    """Kill a process; return whether it was not yet over."""
    process.kill()
    process.join()
    if process.exitcode not in (0, -9):
        raise _refusal(f"a process ended with exit code {process.exitcode}")
    return process.exitcode != 0


def _require_done(process: BaseProcess, stage: str) -> None:
    process.join()
    if process.exitcode != 0:
        raise _refusal(f"{stage}: a process that nobody killed ended with {process.exitcode}")


def _refusal(what: str) -> InputError:
    return InputError(what, where="bench crashes", remedy="report it")


def _counted(numbers: Sequence[int]) -> str:
    """Return how often each number is there: `0: 3, 1: 12`."""
    return ", ".join(f"{number}: {times}" for number, times in sorted(Counter(numbers).items()))


def _as_markdown(killing: Killing) -> str:
    rows = [
        [
            stage,
            str(tally.kills),
            str(tally.kills_of_two),
            str(tally.starts),
            f"{tally.finished_before:,}",
            _counted(tally.redone),
        ]
        for stage, tally in killing.tallies.items()
    ]
    return "\n\n".join(
        (
            "# Killed at random",
            f"{killing.kills} processes were killed (SIGKILL) in {killing.turns} turns. Each turn "
            f"featurizes {IMAGES} images of 8x8 into shards of 8 rows, computes their Gram matrix "
            "and scores. In the end, all files of each turn were, byte for byte, those of a turn "
            "without kills, and none was left over. No finished shard, Gram matrix or scores file "
            "was written again after a kill.",
            table(_HEADINGS, rows),
            "The last column is `shards: kills`. A shard is computed again if the killed process "
            "had begun to compute its features, and another one did afterwards. A writer has two "
            "of them in hand: one that is computed and is being written, and the next one, which "
            "is computed meanwhile. Were each write waited for, it would be one, and every shard "
            "would take longer by the time of its write, which is hidden now. Shards that are "
            "claimed ahead, and whose images are decoded, cost no computing.",
        )
    )
