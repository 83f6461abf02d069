"""The benchmark of crashes: it kills, lets everything be finished, and tells what differs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dtrak_stream.benchmark.crashes import run as run_module
from dtrak_stream.benchmark.crashes import stages
from dtrak_stream.benchmark.crashes.options import CrashesConfig
from dtrak_stream.benchmark.crashes.run import measure_crashes
from dtrak_stream.benchmark.crashes.stages import Turn
from dtrak_stream.errors import InputError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few images."""
    monkeypatch.setattr(run_module, "IMAGES", 12)
    monkeypatch.setattr(stages, "_QUERIES", 2)
    monkeypatch.setattr(stages, "_GRAM_MEMORY", "4GiB")
    monkeypatch.setattr(stages, "_SCORE_MEMORY", "4GiB")
    features = dataclasses.replace(stages._FEATURES, proj_dim=64, rows_per_shard=3)
    monkeypatch.setattr(stages, "_FEATURES", features)


def tiny(folder: Path, kills: int = 3) -> CrashesConfig:
    return CrashesConfig(kills=kills, work=folder, out=folder / "out", quiet=True)


def test_stages_are_killed_and_finished_and_nothing_is_left_but_the_numbers(tmp_path):
    page = measure_crashes(tiny(tmp_path)).path.read_text()
    told = json.loads((tmp_path / "out.json").read_text())
    kills = sum(stage["kills"] for stage in told["stages"].values())
    assert kills >= 3
    assert f"{kills} processes were killed (SIGKILL) in {told['turns']} turns" in page
    assert list(told["stages"]) == ["Gram matrix", "features", "scores"]
    assert not list(tmp_path.glob("crashes-*"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda turn: (turn.folder / "gram.h5").touch(), "gram.h5 was written again after a kill"),
        (lambda turn: (turn.folder / "x.partial").touch(), "x.partial differs from the same"),
    ],
)
def test_what_is_written_again_differs_or_is_left_over_is_told(tmp_path, monkeypatch, spoil, told):
    job = Turn.job

    def spoiling(self: Turn, stage: str) -> object:
        if stage == "scores" and self.folder.name == "turn-0":
            spoil(self)
        return job(self, stage)

    monkeypatch.setattr(Turn, "job", spoiling)
    monkeypatch.setattr(run_module, "_TWO_WRITERS", 0)
    with pytest.raises(InputError, match=told):
        measure_crashes(tiny(tmp_path, 1))
