"""Two runs of one store share its shards, and the living take over from the dead."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import threading
from pathlib import Path

from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.options import FeaturizeResult
from dtrak_stream.featurizing.preparation import prepare
from dtrak_stream.featurizing.run import featurize, finish
from tests.crashing import start_beside
from tests.small_jobs import (
    small_job,
    stored,
)


def test_two_runs_at_once_share_the_shards(model_folder, spoilt, tmp_path):
    """Each image is computed by one of them; the files are those of one alone."""
    config = small_job(model_folder, spoilt, tmp_path / "s", rows_per_shard=1)
    alone = dataclasses.replace(config, store=tmp_path / "alone")
    featurize(alone)

    def run(told: Path) -> None:
        result = featurize(config)
        told.write_text(f"{result.computed} {result.quarantined}")

    told = [tmp_path / name for name in ("first", "second")]
    both = [start_beside(functools.partial(run, each)) for each in told]
    assert [os.waitpid(process, 0)[1] for process in both] == [0, 0]
    counts = [tuple(map(int, each.read_text().split())) for each in told]
    assert sum(computed for computed, _ in counts) == 8
    assert [quarantined for _, quarantined in counts] == [3, 3]
    assert stored(config.store) == stored(alone.store)
    assert not list(config.store.rglob("*.claim*"))


def test_a_run_that_finds_all_computed_by_another_tells_no_times(
    model_folder, spoilt, tmp_path, capsys
):
    """Nor those of a job before it that computed with the same model."""
    config = small_job(model_folder, spoilt, tmp_path / "s")
    first = prepare(dataclasses.replace(config, store=tmp_path / "first"))
    second = prepare(config, beside=first)
    finish(first)
    featurize(config)
    assert "the bottleneck is" in capsys.readouterr().err
    assert finish(second).computed == 0
    told = capsys.readouterr().err
    assert "already complete" in told
    assert "time:" not in told


def test_the_shards_of_a_run_killed_beside_are_taken_over(
    model_folder, spoilt, tmp_path, monkeypatch
):
    config = small_job(model_folder, spoilt, tmp_path / "s", rows_per_shard=1)
    alone = dataclasses.replace(config, store=tmp_path / "alone")
    featurize(alone)

    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    with monkeypatch.context() as patch:
        patch.setattr(Featurizer, "features", stop)
        first = start_beside(lambda: featurize(config))
    os.waitpid(first, os.WUNTRACED)  # it holds a claim and will never finish
    assert list(config.store.glob("shards/*.claim"))
    finished: list[FeaturizeResult] = []
    second = threading.Thread(target=lambda: finished.append(featurize(config)))
    second.start()
    second.join(timeout=1.0)
    assert not finished, "it did not wait for a shard that another run works on"
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    second.join()
    (result,) = finished
    assert result.computed == 8
    assert result.quarantined == 3
    assert stored(config.store) == stored(alone.store)
    assert not list(config.store.rglob("*.claim*"))
    assert not list(config.store.rglob("*.partial"))
