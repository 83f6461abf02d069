"""The same main job started twice at once: the work is done once, and both end well."""

from __future__ import annotations

import dataclasses
import subprocess

from dtrak_stream.cli.command_line import EXIT_DONE
from tests.attribution.jobs import Finished
from tests.claiming import holder
from tests.crashing import contents
from tests.small_jobs import flags, start_tool, stored


def told_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what a process tells up to the line that holds `text`."""
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if text in line:
            return told
    raise AssertionError(f"it never said {text}:\n{told}")


def rest_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    told = process.stderr.read()
    process.communicate(timeout=120)
    return told


def test_runs_at_once_wait_for_whoever_is_at_it_and_go_on_when_that_is_killed(
    finished: Finished, tmp_path
):
    config = dataclasses.replace(finished.config, run=tmp_path / "run")
    results = ("gram.h5", "scores.h5")
    with holder(config.run, results[0]) as first, holder(config.run, results[1]) as second:
        runs = [start_tool("attribute", flags(config)) for _ in range(2)]
        told = ["", ""]
        for result, other in zip(results, (first, second), strict=True):
            for number, run in enumerate(runs):
                told[number] += told_until(run, f"{result}: waiting for process {other.pid}")
            assert not (config.run / result).exists()
            other.kill()
            other.wait()
        told = [text + rest_of(run) for text, run in zip(told, runs, strict=True)]
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
