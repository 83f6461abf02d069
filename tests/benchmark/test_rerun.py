"""The benchmark of finished runs: the main job is run in this process, and started again."""

from __future__ import annotations

import json
import time

import pytest

from dtrak_stream.benchmark.main_job.stages import Cost
from dtrak_stream.benchmark.rerun import run as rerun_module
from dtrak_stream.benchmark.rerun.images import save_array, save_folder
from dtrak_stream.benchmark.rerun.options import RerunConfig
from dtrak_stream.benchmark.rerun.run import measure_rerun
from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError
from tests.commands_here import run_command


@pytest.fixture
def here(monkeypatch):
    """Commands run in this process; what only imports costs a second."""
    started: list[list[str]] = []

    def measure(command):
        started.append(command)
        if command[1] == "-c":
            return Cost(1.0, 0, 0.5)
        begin = time.perf_counter()
        told = run_command(*command[3:])
        assert told.code == 0, told.stderr
        return Cost(1.0 + time.perf_counter() - begin, 0, 0.75)

    monkeypatch.setattr(rerun_module, "measure_command", measure)
    return started


def test_a_finished_run_of_each_source_is_started_again_and_writes_nothing(here, tmp_path):
    config = RerunConfig(
        images=6, method="pixel-cosine", repeats=2, work=tmp_path / "work", out=tmp_path / "out"
    )
    page = measure_rerun(config).path.read_text()
    assert "6 training images of 8x8, pixel-cosine" in page
    sources = json.loads((tmp_path / "out.json").read_text())["sources"]
    assert [source["source"] for source in sources] == ["folder", "array"]
    for source in sources:
        assert source["files_written"] == 0
        assert source["difference_cpu_seconds"] == 0.25
        assert (
            0
            < source["difference_seconds"]
            == pytest.approx(source["again_seconds"] - 1.0, abs=0.5)
        )
        assert len(source["runs"]) == 2
    assert len(here) == 2 * (1 + 2 * 2)
    kept = {path.name for path in (tmp_path / "work").iterdir()}
    assert {"images", "images.npy", "run-folder", "run-array"} <= kept


def test_both_sources_hold_the_same_images(tmp_path):
    array = save_array(tmp_path / "images.npy", 9)
    folder = save_folder(tmp_path / "images", 9, visible=False)
    first, second = (open_images(str(path), visible=False) for path in (array, folder))
    assert len(first) == len(second) == 9
    assert all(bool((first.image(row) == second.image(row)).all()) for row in range(9))


@pytest.mark.parametrize("flag", ["images", "repeats"])
def test_nothing_to_measure_is_refused(flag):
    with pytest.raises(ConfigurationError, match=f"--{flag} 0"):
        RerunConfig(**{flag: 0})  # type: ignore[arg-type]
