"""The benchmark of several writers: they fill one store, which is the same as that of one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dtrak_stream.benchmark.writers import run as writers_module
from dtrak_stream.benchmark.writers.options import WritersConfig
from dtrak_stream.benchmark.writers.run import measure_writers
from dtrak_stream.errors import ConfigurationError, InputError
from tests.commands_here import run_command
from tests.small_jobs import fingerprint_of


def tiny(folder: Path) -> WritersConfig:
    return WritersConfig(images=5, proj_dim=64, repeats=2, work=folder, out=folder / "out")


def test_one_process_and_several_take_turns_and_leave_nothing(tmp_path, monkeypatch):
    started: list[int] = []

    def here(commands):
        if commands[0][1] == "-c":
            return 1.0
        started.append(len(commands))
        for command in commands:
            told = run_command(*command[3:])
            assert told.code == 0, told.stderr
        return 9.0 if len(commands) == 1 else 6.0

    monkeypatch.setattr(writers_module, "run_together", here)
    page = measure_writers(tiny(tmp_path)).path.read_text()
    assert started == [1, 2, 1, 2]
    assert "| 2 | 1.0 | 6.0 | 0.67 | 5.0 | 0.62 |" in page
    ways = json.loads((tmp_path / "out.json").read_text())["ways"]
    assert [way["writers"] for way in ways] == [1, 2]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out.json", "out.md", ".out.json.written", ".out.md.written"}


def test_a_store_of_other_bytes_is_refused(tmp_path, monkeypatch):
    def here(commands):
        if commands[0][1] != "-c":
            assert run_command(*commands[0][3:]).code == 0
            store = next(tmp_path.glob("*/store"))
            assert fingerprint_of(store).samples == 5
            if len(commands) == 2:
                (store / "shards" / "00000000.h5").write_bytes(b"")
        return 1.0

    monkeypatch.setattr(writers_module, "run_together", here)
    with pytest.raises(InputError, match="a store of 2 writers is another"):
        measure_writers(tiny(tmp_path))


def test_processes_run_side_by_side_on_one_thread_and_a_failure_is_told(tmp_path):
    meet = (
        "import os, sys, time\n"
        "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
        "me, other = sys.argv[1:]\n"
        "open(me, 'w').close()\n"
        "while not os.path.exists(other): time.sleep(0.01)\n"
    )
    names = [str(tmp_path / name) for name in "ab"]
    pairs = (names, names[::-1])
    assert writers_module.run_together([[sys.executable, "-c", meet, *pair] for pair in pairs]) > 0
    failing = [sys.executable, "-c", "raise SystemExit('no room')"]
    with pytest.raises(InputError, match=r"exit code 1 \(no room\)"):
        writers_module.run_together([failing])


@pytest.mark.parametrize(("flag", "value"), [("images", 0), ("writers", 1), ("repeats", 0)])
def test_nothing_to_measure_is_refused(flag, value):
    with pytest.raises(ConfigurationError, match=f"--{flag} {value}"):
        WritersConfig(**{flag: value})
