"""The same main job started twice at once: the work is done once, and both end well."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest
import yaml

from dtrak_stream.attribution.checks import check
from dtrak_stream.attribution.run import attribute
from dtrak_stream.cli.command_line import EXIT_DONE
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.support.provenance import record_run
from tests.attribution.jobs import Finished
from tests.claiming import holder
from tests.crashing import contents
from tests.small_jobs import Beside, flags, stored


def wait_until_told(run: Beside, text: str) -> None:
    deadline = time.monotonic() + 120
    while text not in run.errors():
        assert run.poll() is None, run.errors()
        assert time.monotonic() < deadline, f"it never said {text}:\n{run.errors()}"
        time.sleep(0.01)


def test_runs_at_once_wait_for_whoever_is_at_it_and_go_on_when_that_is_killed(
    finished: Finished, tmp_path
):
    config = dataclasses.replace(finished.config, run=tmp_path / "run")
    results = ("gram.h5", "scores.h5")
    with holder(config.run, results[0]) as first, holder(config.run, results[1]) as second:
        folders = [tmp_path / name for name in ("one", "two")]
        runs = [Beside("attribute", flags(config), folder) for folder in folders]
        for result, other in zip(results, (first, second), strict=True):
            for run in runs:
                wait_until_told(run, f"{result}: waiting for process {other.pid}")
            assert not (config.run / result).exists()
            other.kill()
            other.wait()
        told = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [EXIT_DONE] * 2, told
    for result in results:
        assert sum(f"{result}: already complete" in text for text in told) == 1, told
        assert (config.run / result).read_bytes() == (finished.config.run / result).read_bytes()
    for store in ("train", "query"):
        assert stored(config.run / store) == stored(finished.config.run / store)
    grids = "report/grids/*"
    assert contents(config.run, grids) == contents(finished.config.run, grids)
    left = {path.suffix for path in config.run.rglob("*")}
    assert not left & {".claim", ".parts", ".partial"}


def test_a_run_that_another_process_begins_meanwhile_is_recorded_as_that_one_began_it(
    finished: Finished, tmp_path, monkeypatch
):
    config = dataclasses.replace(finished.config, run=tmp_path / "run", limit=4)
    record = config.run / "config.yaml"

    def slow_check(*arguments: Any) -> Any:
        found = check(*arguments)
        record_run(record, dataclasses.replace(config, limit=5))
        return found

    monkeypatch.setattr("dtrak_stream.attribution.run.check", slow_check)
    with pytest.raises(FingerprintMismatchError, match="limit differs: stored 5, requested 4"):
        attribute(config)
    assert yaml.safe_load(record.read_text())["limit"] == 5
    assert list(config.run.iterdir()) == [record]
