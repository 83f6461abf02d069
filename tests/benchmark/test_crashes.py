"""The benchmark of crashes: it kills, lets everything be finished, and tells what differs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dtrak_stream.benchmark.crashes import run as run_module
from dtrak_stream.benchmark.crashes import stages
from dtrak_stream.benchmark.crashes.options import CrashesConfig
from dtrak_stream.benchmark.crashes.run import Killing, measure_crashes
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


def test_what_is_left_over_is_told(tmp_path, monkeypatch):
    job = Turn.job

    def littering(self: Turn, stage: str) -> object:
        if stage == "scores" and self.folder.name == "turn-0":
            (self.folder / "x.partial").touch()
        return job(self, stage)

    monkeypatch.setattr(Turn, "job", littering)
    with pytest.raises(InputError, match=r"x\.partial differs from the same without kills"):
        measure_crashes(tiny(tmp_path, 1))


def test_a_finished_file_that_is_written_again_is_told(tmp_path):
    killing = Killing(tiny(tmp_path), tmp_path / "images.npy", tmp_path)
    turn, path = Turn(tmp_path / "images.npy", tmp_path), tmp_path / "gram.h5"
    path.write_bytes(b"1")
    before = turn.finished()
    killing._refuse_changed(before, turn)
    (tmp_path / "again").write_bytes(b"1")
    (tmp_path / "again").replace(path)
    with pytest.raises(InputError, match=r"gram\.h5 was written again after a kill"):
        killing._refuse_changed(before, turn)
