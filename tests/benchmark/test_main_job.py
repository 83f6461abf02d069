"""The main-job benchmark: commands run in this process, so that their imports are paid once."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dtrak_stream.benchmark.main_job import run as main_job
from dtrak_stream.benchmark.main_job.options import MainJobConfig
from dtrak_stream.benchmark.main_job.run import measure_main_job
from dtrak_stream.benchmark.main_job.stages import (
    Cost,
    features_for,
    imports_command,
    measure_command,
    stages_of,
)
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.support.memory import format_size
from tests.commands_here import run_command

STAGES = ["train features", "query features", "Gram matrix", "scores", "report"]
MIB = 2**20


def tiny(model_folder, out, **options):
    return MainJobConfig(
        model=model_folder,
        train="sklearn:digits[:20]",
        query="sklearn:digits[20:25]",
        out=out,
        self_queries=6,
        features=FeatureOptions(timesteps="2", proj_dim=1024),
        quiet=True,
        **options,
    )


def terminate_this_process_once(file):
    for _ in range(1000):
        if file.exists():
            break
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


class InThisProcess:
    """Runs the commands of the benchmark here, and says they cost ever more."""

    def __init__(self):
        self.commands = []

    def __call__(self, command):
        self.commands.append(command)
        if command[1] == "-c":
            return Cost(1.0, 100 * MIB)
        begin = time.perf_counter()
        assert command[1:3] == ["-m", "dtrak_stream"]
        assert run_command(*command[3:]).code == 0
        return Cost(1.0 + time.perf_counter() - begin, (200 + len(self.commands)) * MIB)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, model_folder):
    """Return (numbers, Markdown, commands) of two repeats."""
    out = tmp_path_factory.mktemp("bench") / "main-job"
    runner = InThisProcess()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_job, "measure_command", runner)
        result = measure_main_job(tiny(model_folder, out, repeats=2))
    assert result.path == out.with_name("main-job.md")
    return json.loads(out.with_name("main-job.json").read_text()), result.path.read_text(), runner


def test_every_stage_is_one_run_of_its_command_beside_its_imports(measured):
    given = measured[2].commands
    commands = [("imports " if words[1] == "-c" else "") + words[3] for words in given]
    once = ["imports featurize", "featurize", "featurize"]
    for command in ("gram", "score", "report"):
        once += [f"imports {command}", command]
    assert commands == 2 * once


def test_stages_have_times_rates_and_memory(measured):
    numbers = measured[0]
    assert [stage["stage"] for stage in numbers["stages"]] == STAGES
    assert [stage["images"] for stage in numbers["stages"]] == [20, 5, 20, 20, 5]
    for stage in numbers["stages"]:
        assert len(stage["runs"]) == 2
        assert stage["wall_seconds"] > stage["import_seconds"] == 1.0
        assert stage["work_seconds"] == pytest.approx(stage["wall_seconds"] - 1)
        expected = stage["images"] / stage["work_seconds"]
        assert stage["images_per_second"] == pytest.approx(expected)
        assert stage["peak_bytes"] > stage["import_peak_bytes"] == 100 * MIB


def test_medians_and_totals_are_over_repeats(measured):
    stages, total = measured[0]["stages"], measured[0]["total"]
    for stage in stages:
        walls = [run["whole"]["seconds"] for run in stage["runs"]]
        assert stage["wall_seconds"] == pytest.approx(sum(walls) / 2)
    sums = [sum(stage["runs"][i]["whole"]["seconds"] for stage in stages) for i in range(2)]
    assert total["wall_seconds"] == pytest.approx(sum(sums) / 2)
    assert total["work_seconds"] == pytest.approx(total["wall_seconds"] - 5)
    assert total["peak_bytes"] == max(stage["peak_bytes"] for stage in stages)


def test_size_of_the_store_is_given_for_each_image(measured):
    store = measured[0]["store"]
    assert store["images"] == 20
    assert store["shard_bytes_per_image"] > 2 * 1024  # float16
    parts = store["shard_bytes_per_image"] + store["other_bytes_per_image"]
    assert store["bytes_per_image"] == pytest.approx(parts) == store["bytes"] / 20


def test_training_images_find_themselves(measured):
    checks = measured[0]["self_check"]
    assert [
        (check["method"], check["transform"], check["output_function"]) for check in checks
    ] == [
        ("d-trak", "none", "square"),
        ("d-trak", "square", "square"),
        ("trak", "none", "simple"),
        ("trak", "square", "simple"),
    ]
    for check in checks:
        assert check["queries"] == 6
        assert 0.5 < check["top_1_share"] <= check["top_10_share"] <= 1


def test_options_are_the_resolved_ones(measured):
    numbers = measured[0]
    assert numbers["options"]["output-function"] == "square"
    assert numbers["options"]["proj-dim"] == 1024
    assert numbers["provenance"]["packages"]["torch"]
    assert numbers["machine"]["cpu"]


def test_markdown_holds_the_numbers(measured):
    numbers, markdown, _ = measured
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    for stage in numbers["stages"]:
        (row,) = [row for row in rows if row.startswith(f"| {stage['stage']} |")]
        for name in ("wall_seconds", "import_seconds", "work_seconds"):
            assert f"| {stage[name]:.2f} |" in row
        assert f"| {format_size(stage['peak_bytes'])} |" in row
    assert f"{numbers['store']['bytes_per_image']:,.0f} bytes an image" in markdown
    for check in numbers["self_check"]:
        assert f"| {check['top_1_share']:.1%} | {check['top_10_share']:.1%} |" in markdown


def test_a_stage_runs_as_a_process_of_its_own(model_folder, tmp_path):
    """The slow start is paid once here, and in no other test."""
    stage = stages_of(tiny(model_folder, tmp_path), tmp_path / "run")[1]
    whole = measure_command(stage.command(tmp_path / "options.yaml"))
    assert (tmp_path / "run" / "query" / "features.h5").is_file()
    assert whole.peak_bytes > 100 * MIB


@pytest.mark.parametrize(
    ("command", "module"),
    [("gram", "dtrak_stream.gram.run"), ("featurize", "dtrak_stream.featurizing.run")],
)
def test_imports_alone_import_the_function_of_the_command(command, module):
    arguments = imports_command(command)
    told = "; print(*sorted(sys.modules))"
    ran = subprocess.run(
        [*arguments[:2], arguments[2] + told, *arguments[3:]],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = ran.stdout.split()
    assert module in imported
    assert ("diffusers" in imported) == (command == "featurize")


def test_memory_of_a_command_is_its_own():
    ballast = bytearray(os.urandom(1)) * (300 * MIB)
    cost = measure_command([sys.executable, "-c", "pass"])
    assert 1 * MIB < cost.peak_bytes < 100 * MIB < len(ballast)
    held = measure_command([sys.executable, "-c", f"bytearray(b'x') * {200 * MIB}"])
    assert 200 * MIB < held.peak_bytes < 300 * MIB


def test_time_of_a_command_is_wall_time():
    cost = measure_command([sys.executable, "-c", "import time; time.sleep(0.3)"])
    assert cost.seconds >= 0.3


def test_a_command_that_fails_is_refused_with_its_last_line():
    script = "import sys; print('first'); print('error: x: y; z', file=sys.stderr); sys.exit(2)"
    with pytest.raises(InputError, match=r"exit code 2 \(error: x: y; z\)"):
        measure_command([sys.executable, "-c", script])


def test_quarantined_samples_do_not_stop_a_measurement():
    assert measure_command([sys.executable, "-c", "raise SystemExit(3)"]).seconds > 0


def test_an_interruption_ends_the_command_too(tmp_path):
    began, ended = tmp_path / "began", tmp_path / "ended"
    script = (
        "import pathlib, signal, sys, time\n"
        "def end(*_): pathlib.Path(sys.argv[2]).touch(); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
    stopper = threading.Thread(target=terminate_this_process_once, args=[began])
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stopper.start()
        with pytest.raises(KeyboardInterrupt):
            measure_command([sys.executable, "-c", script, str(began), str(ended)])
    finally:
        stopper.join()
        signal.signal(signal.SIGTERM, handler)
    assert ended.exists()


def test_each_method_gets_its_own_output_function(model_folder, tmp_path):
    config = tiny(model_folder, tmp_path)
    assert features_for(config, "d-trak").output_function == "square"
    assert features_for(config, "trak").output_function == "simple"
    chosen = dataclasses.replace(config, features=FeatureOptions(output_function="l2"))
    assert features_for(chosen, "d-trak").output_function == "l2"
    assert features_for(chosen, "trak").output_function == "simple"


def test_an_output_function_that_the_method_does_not_take_is_refused(model_folder, tmp_path):
    config = tiny(model_folder, tmp_path, score_options=ScoreOptions(method="trak"))
    config = dataclasses.replace(config, features=FeatureOptions(output_function="l2"))
    with pytest.raises(ConfigurationError, match="trak takes features of simple"):
        measure_main_job(config)


@pytest.mark.parametrize(("option", "value"), [("repeats", 0), ("self_queries", -1)])
def test_too_few_are_refused(option, value):
    with pytest.raises(ConfigurationError, match=f"--{option.replace('_', '-')} {value}: must"):
        MainJobConfig(**{option: value})
