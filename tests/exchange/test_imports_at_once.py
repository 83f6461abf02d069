"""Two imports into one store at once: the work is shared, and a killed one is made up for."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.exchange.importing import import_features
from dtrak_stream.exchange.options import ImportConfig
from dtrak_stream.store.writer import StoreWriter
from tests.crashing import finishes_before_step
from tests.exchange.conftest import import_config, random_features, saved
from tests.small_jobs import stored

ROWS = 9


@pytest.fixture
def array(tmp_path, monkeypatch):
    """Features with a bad row; a shard takes long enough for the other process to take the next."""
    honest = StoreWriter.write

    def slow(self, rows):
        time.sleep(0.02)
        honest(self, rows)

    monkeypatch.setattr(StoreWriter, "write", slow)
    features = random_features(ROWS, 4)
    features[5, 2] = np.nan
    return saved(tmp_path / "a.npy", features)


def job(array: Path, store: Path) -> ImportConfig:
    return import_config(array, store, rows_per_shard=1, bad_rows="quarantine")


def forked(work: Callable[[], object], told: Path, go: Path) -> int:
    """Start a child process that works once `go` exists, and tells what came out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of fork beside threads
        child = os.fork()
    if child == 0:
        try:
            while not go.exists():
                time.sleep(0.001)
            told.write_text(str(work()))
        except BaseException:
            told.write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    return child


@pytest.fixture
def meet(tmp_path, monkeypatch):
    """Return what makes each of two processes hold its first shard until the other has one too."""
    honest, at_work = StoreWriter.write, tmp_path / "at-work"
    at_work.mkdir()

    def beside(self, rows):
        (at_work / str(os.getpid())).touch()
        deadline = time.monotonic() + 120
        while len(list(at_work.iterdir())) < 2:
            assert time.monotonic() < deadline, "the other process never took a shard"
            time.sleep(0.001)
        honest(self, rows)

    return lambda: monkeypatch.setattr(StoreWriter, "write", beside)


@pytest.mark.parametrize("attempt", range(3))
def test_two_imports_of_a_new_store_share_its_shards(array, meet, tmp_path, attempt):
    alone, config = job(array, tmp_path / "alone"), job(array, tmp_path / "s")
    import_features(alone)
    meet()
    told = [tmp_path / name for name in ("first", "second")]
    go = tmp_path / "go"
    children = [forked(lambda: import_features(config).computed, path, go) for path in told]
    go.touch()
    codes = [os.waitpid(child, 0)[1] for child in children]
    answers = [path.read_text() for path in told]
    assert codes == [0, 0], answers
    assert sum(map(int, answers)) == ROWS
    assert all(int(answer) > 0 for answer in answers), answers
    assert stored(config.store) == stored(alone.store)
    assert not {path.suffix for path in config.store.rglob("*")} & {".claim", ".partial"}


def test_the_shards_of_an_import_killed_beside_are_taken_over(array, tmp_path):
    alone = job(array, tmp_path / "alone")
    import_features(alone)
    deaths = 0
    for step in (1, 4, 7, 10):
        config, told = job(array, tmp_path / str(step)), tmp_path / f"told-{step}"
        other = forked(lambda: import_features(config).quarantined, told, go=array)  # noqa: B023
        deaths += not finishes_before_step(lambda: import_features(config), step)  # noqa: B023
        assert os.waitpid(other, 0)[1] == 0, told.read_text()
        assert told.read_text() == "1"
        assert import_features(config).computed == 0  # drops what the killed one was writing
        assert stored(config.store) == stored(alone.store)
        assert not {path.suffix for path in config.store.rglob("*")} & {".claim", ".partial"}
    assert deaths > 1


def test_an_import_of_another_array_beside_is_refused(array, tmp_path, monkeypatch):
    """It finds an empty folder, and another store when it is about to begin its own."""
    other = saved(tmp_path / "b.npy", random_features(ROWS, 4, seed=1))
    config = job(array, tmp_path / "s")
    honest = StoreWriter.begin

    def late(self):
        monkeypatch.setattr(StoreWriter, "begin", honest)
        import_features(config)
        honest(self)

    monkeypatch.setattr(StoreWriter, "begin", late)
    with pytest.raises(FingerprintMismatchError):
        import_features(job(other, tmp_path / "s"))
