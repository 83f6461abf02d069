"""SIGTERM in the middle of a command, as a process: it says how to go on, and then does.

What is kept of featurizing, retraining and training is tried where those are; here each command is
stopped at the first thing that it counts of its own work.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from dtrak_stream.cli.interruption import EXIT_INTERRUPTED
from dtrak_stream.support.progress import Bar
from tests.cli.conftest import IMAGES, SIDES
from tests.commands_here import run_command
from tests.small_jobs import Beside, signalled

TINY = (
    "--images sklearn:digits[:8] --epochs 2 --batch-size 4 --block-out-channels 8 "
    "--layers-per-block 1 --attention-levels --norm-num-groups 4"
)
COMMANDS = {
    "gram": ("Gram matrix", "--store {run}/train --out {here}/new.h5", "partial sums are kept in"),
    "score": ("scoring", f"{SIDES} --gram {{run}}/gram.h5 --out {{here}}/new.h5", "are kept in"),
    "attribute": (
        "featurizing",
        f"{IMAGES} --proj-dim 64 --timesteps 2 --rows-per-shard 2 --run {{here}}/new",
        "are done and kept",
    ),
    "report": ("report", f"--scores {{run}}/scores.h5 {IMAGES} --out {{here}}/new", ""),
    "generate": ("generating", "--count 2 --batch-size 1 --steps 2 --out {here}/new", "saved"),
    "train": ("training", f"{TINY} --out {{here}}/new", "steps are saved"),
}


class FirstCount:
    """Where a child waits for its signal: when a stage has counted for the first time."""

    def __init__(self, patch: pytest.MonkeyPatch, stage: str, folder: Path) -> None:
        self.reached, self._over = folder / "reached", folder / "over"
        went_on = Bar._went_on

        def waiting(bar: Bar) -> None:
            went_on(bar)
            if bar.description == stage and not self.reached.exists():
                self.reached.touch()
                while not self._over.exists():
                    time.sleep(0.01)

        patch.setattr(Bar, "_went_on", waiting)

    def send(self, process: Beside, number: signal.Signals) -> tuple[int, str, str]:
        send = process.send_signal

        def sent(number: signal.Signals) -> None:
            send(number)
            time.sleep(0.05)  # it arrives while the child waits
            self._over.touch()

        process.send_signal = sent  # type: ignore[method-assign]
        return signalled(process, number, self.reached.exists, 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_ended_says_how_to_go_on_and_does(name, inputs, tmp_path, monkeypatch):
    stage, words, kept = COMMANDS[name]
    given = [*words.format(**inputs, here=tmp_path).split(), "--quiet"]
    with monkeypatch.context() as patch:
        first = FirstCount(patch, stage, tmp_path)
        process = Beside(name, given, tmp_path)
    code, out, errors = first.send(process, signal.SIGTERM)
    assert (code, out) == (EXIT_INTERRUPTED, ""), errors
    last = errors.splitlines()[-1]
    assert last.startswith("interrupted: ")
    assert kept in last
    assert last.endswith("run the same command again to continue where it stopped")
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("*.claim"))
    told = run_command(name, *given)
    assert told.code == 0, told.stderr
    assert list(tmp_path.glob("new*"))
