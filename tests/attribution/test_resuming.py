"""A main job that was interrupted or killed goes on to the same scores."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

import dtrak_stream
from dtrak_stream.cli.interruption import EXIT_INTERRUPTED
from tests.attribution.jobs import (
    assert_same_scores,
    job,
)
from tests.crashing import finishes_before_step
from tests.small_jobs import (
    Beside,
    flags,
    random_pixels,
    save_images,
    signalled,
    written_at,
)


def test_an_interrupted_run_goes_on_and_gives_the_same_scores(model_folder, sources, tmp_path):
    train = save_images(tmp_path / "many", random_pixels(8))
    long: dict[str, Any] = {"rows_per_shard": 1, "timesteps": "uniform:30"}
    config = job(model_folder, (train, sources[1]), tmp_path / "run", **long)
    process = Beside("attribute", flags(config), tmp_path)
    third = config.run / "train" / "shards" / "00000002.h5"
    code, out, errors = signalled(process, signal.SIGINT, third.exists, 0.0)
    assert (code, out) == (EXIT_INTERRUPTED, ""), errors
    assert "run the same command again" in errors.splitlines()[-1]
    done = written_at(config.run / "train" / "shards")
    assert 3 <= len(done) < 8
    dtrak_stream.attribute(config)
    assert done.items() <= written_at(config.run / "train" / "shards").items()
    whole = dataclasses.replace(config, run=tmp_path / "whole")
    dtrak_stream.attribute(whole)
    assert_same_scores(config.run, whole.run)


def test_a_run_killed_in_every_stage_gives_the_same_scores(finished, tmp_path):
    config = dataclasses.replace(finished.config, run=tmp_path / "run")
    reached: list[set[str]] = []
    while not finishes_before_step(lambda: dtrak_stream.attribute(config), 6 + 2 * len(reached)):
        reached.append({path.name for path in config.run.iterdir()})
        assert len(reached) < 50, "no progress from one restart to the next"
    for result in ("query", "gram.h5", "scores.h5"):
        killed = [result in files for files in reached]
        assert killed == sorted(killed)
        assert any(killed), f"no kill came after {result}"
    assert not all("query" in files for files in reached)
    assert_same_scores(config.run, finished.config.run)
    assert not list(config.run.rglob("*.partial"))
    assert not list(config.run.rglob("*.parts"))
