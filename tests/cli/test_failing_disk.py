"""A disk that fails, or is full, at any moment: one line, nothing torn, and the command goes on.

`test_full_disk` fills the disk for real; here the system says so at every step towards a durable
file of the commands that write the most.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dtrak_stream.support import durable
from tests.cli.conftest import SIDES
from tests.commands_here import run_command
from tests.crashing import contents

COMMANDS = {
    "gram": "gram --store {run}/train --quiet --out {here}/new.h5",
    "scores": f"score {SIDES} --gram {{run}}/gram.h5 --quiet --out {{here}}/new.h5",
    "csv": "export --scores {run}/scores.h5 --quiet --out {here}/new.csv",
}
PROBLEMS = {errno.EIO: "input/output error", errno.ENOSPC: "no room left to write this file"}


class FailingDisk:
    """Lets the n-th step towards a durable file fail: a file that is synced, or renamed."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, step: int) -> None:
        self._number, self._left = number, step
        sync, rename = durable._fsync, Path.replace

        def failing_sync(path: Path) -> None:
            self._count()
            sync(path)

        def failing_rename(path: Path, target: Path) -> Path:
            self._count()
            return rename(path, target)

        patch.setattr(durable, "_fsync", failing_sync)
        patch.setattr(Path, "replace", failing_rename)

    @property
    def has_failed(self) -> bool:
        return self._left < 0

    def _count(self) -> None:
        self._left -= 1
        if self._left == -1:
            raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("number", PROBLEMS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_fails_at_any_step_ends_a_command_with_one_line(
    name, number, inputs, tmp_path, monkeypatch
):
    words = COMMANDS[name].format(**inputs, here=tmp_path / "whole").split()
    (tmp_path / "whole").mkdir()
    assert run_command(*words).code == 0
    whole, step = contents(tmp_path / "whole", "new.[hc]*[5v]"), 0
    while True:
        here = tmp_path / f"failing-{step}"
        here.mkdir()
        words = COMMANDS[name].format(**inputs, here=here).split()
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, number, step)
            told = run_command(*words)
        if not disk.has_failed:
            break
        assert told.code == 2, (step, told)
        assert told.stderr.splitlines()[-1].startswith("error: ")
        assert PROBLEMS[number] in told.stderr
        assert not list(here.rglob("*.partial"))
        assert run_command(*words).code == 0
        assert contents(here, "new.[hc]*[5v]") == whole
        step += 1
    assert step >= 3
