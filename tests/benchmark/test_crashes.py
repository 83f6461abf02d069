"""The benchmark of crashes: it kills, lets everything be finished, and tells what differs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dtrak_stream.benchmark.crashes import run as run_module
from dtrak_stream.benchmark.crashes import stages
from dtrak_stream.benchmark.crashes.options import CrashesConfig
from dtrak_stream.benchmark.crashes.run import Killing, measure_crashes
from dtrak_stream.benchmark.crashes.stages import Turn
from dtrak_stream.errors import InputError
from dtrak_stream.gram.plan import plan_gram
from dtrak_stream.scoring.run import prepare
from dtrak_stream.support.memory import parse_size
from tests.scoring.conftest import attribution_of, whole_numbers

GRAM_MEMORY, SCORE_MEMORY, QUERIES = stages._GRAM_MEMORY, stages._SCORE_MEMORY, stages._QUERIES
FEATURES = stages._FEATURES


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few images."""
    monkeypatch.setattr(run_module, "IMAGES", 9)
    monkeypatch.setattr(stages, "_QUERIES", 2)
    monkeypatch.setattr(stages, "_GRAM_MEMORY", "4GiB")
    monkeypatch.setattr(stages, "_SCORE_MEMORY", "4GiB")
    features = dataclasses.replace(stages._FEATURES, proj_dim=64, rows_per_shard=3)
    monkeypatch.setattr(stages, "_FEATURES", features)


def tiny(folder: Path, kills: int = 3) -> CrashesConfig:
    return CrashesConfig(kills=kills, work=folder, out=folder / "out", quiet=True)


def test_the_work_of_every_stage_is_cut_into_several_pieces(tmp_path):
    width = FEATURES.proj_dim or 0
    train, query = (whole_numbers(rows, width) for rows in (stages.IMAGES, QUERIES))
    run = attribution_of(tmp_path, train, query, rows_per_shard=FEATURES.rows_per_shard)
    limit = parse_size(GRAM_MEMORY, flag="--memory-limit")
    assert len(list(plan_gram(run.train, "auto", memory_limit=limit, workers=16).tiles())) > 1
    config = run.config(memory_limit=SCORE_MEMORY, damping="1", save_scores="yes", top_k=5)
    assert len(list(prepare(config).plan.parts())) > 1
    assert run.train.layout.num_shards > 1


def test_shards_that_another_process_began_after_the_killed_one_are_counted(tmp_path):
    killing = Killing(tiny(tmp_path), tmp_path / "images.npy", tmp_path)
    turn = Turn(tmp_path / "images.npy", tmp_path / "turn")
    # shards of three: 1 loses its second one; 2 computes that, and loses its third one
    notes = ((1, range(5)), (2, range(3, 8)), (3, range(6, 12)))
    turn.begun.write_text("".join(f"{by} {row}\n" for by, rows in notes for row in rows))
    killing._victims += [1, 2, 4]
    killing._count_redone(turn)
    assert killing.tallies["features"].redone == [1, 1, 0]


def test_stages_are_killed_and_finished_and_nothing_is_left_but_the_numbers(tmp_path):
    page = measure_crashes(tiny(tmp_path)).path.read_text()
    told = json.loads((tmp_path / "out.json").read_text())
    kills = sum(stage["kills"] for stage in told["stages"].values())
    assert kills >= 3
    assert f"{kills} processes were killed (SIGKILL) in {told['turns']} turns" in page
    assert len(told["stages"]["features"]["redone"]) == told["stages"]["features"]["kills"]
    assert set(told["stages"]["features"]["redone"]) <= {0, 1, 2}
    assert list(told["stages"]) == ["Gram matrix", "features", "scores"]
    assert not list(tmp_path.glob("crashes-*"))


def test_ctrl_c_ends_it_with_the_turns_that_are_over(tmp_path, monkeypatch):
    turn = Killing._turn

    def interrupted(self: Killing, *arguments: Any) -> None:
        if self.turns:
            self.tallies["scores"].kills += 100
            raise KeyboardInterrupt
        turn(self, *arguments)

    monkeypatch.setattr(Killing, "_turn", interrupted)
    measure_crashes(tiny(tmp_path, 50))
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["turns"] == 1
    assert 0 <= told["stages"]["scores"]["kills"] < 50
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
