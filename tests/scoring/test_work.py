"""How often things are read while scoring: it grows with the work, and not faster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.checkpoints import Checkpoints
from tests.scoring.conftest import attribution_of, whole_numbers
from tests.scoring.test_ensemble import models_of


@pytest.fixture
def counted(monkeypatch) -> Counter[str]:
    """How often scales were asked for, checkpoints read, and their folder looked through."""
    counts = Counter[str]()

    def counting(owner, name, key):
        original = getattr(owner, name)

        def call(self, *arguments, **options):
            if (counted_as := key(self, *arguments)) is not None:
                counts[counted_as] += 1
            return original(self, *arguments, **options)

        monkeypatch.setattr(owner, name, call)

    counting(FeatureStore, "usable", lambda _: "usable")
    counting(Checkpoints, "load", lambda _, name: name.split("-")[0])
    counting(Path, "glob", lambda path, _: "scan" if path.name.endswith(".parts") else None)
    return counts


@pytest.mark.parametrize("rows_per_part", [24, 8, 1])
def test_which_samples_are_usable_is_asked_as_often_for_many_blocks_as_for_one(
    tmp_path, monkeypatch, counted, rows_per_part
):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", rows_per_part)
    run = attribution_of(tmp_path, whole_numbers(24, 64), whole_numbers(5, 64, 1), rows_per_shard=1)
    limit = run.smallest_limit(5)
    counted.clear()
    assert run.score(memory_limit=limit).computed == 5 * 24 // rows_per_part
    # of both stores, for the rank of the kernel, and for the queries that its leakage is of
    assert counted["usable"] == 4


def test_scored_blocks_are_read_once_for_all_dampings(tmp_path, monkeypatch, counted):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 7)
    run = attribution_of(tmp_path, whole_numbers(24, 64), whole_numbers(5, 64, 1))
    result = run.score(damping="0.1,0.2,0.3,1,10")
    assert counted["part"] == result.computed == 4


@pytest.mark.parametrize("rows_per_part", [24, 1])
def test_the_folder_of_scored_blocks_is_looked_through_once_for_all_models_and_blocks(
    tmp_path, monkeypatch, counted, rows_per_part
):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", rows_per_part)
    models = models_of(tmp_path, rows_per_shard=(1, 1, 1))
    counted.clear()
    blocks = models.score().computed
    assert blocks == 3 * 24 // rows_per_part
    assert counted["scan"] <= 2  # for files half written, and for what is kept
    # the sums of a block are read for each model after the first, and what came out for the file
    assert counted["part"] == blocks
