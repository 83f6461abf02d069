"""The command line of tools/bench.py: names, help and refusals."""

from __future__ import annotations

import pytest

from tests.benchmark.tools_here import run_bench


def test_help_names_every_subcommand_with_its_purpose():
    told = run_bench("--help")
    assert told.code == 0
    assert "bench.py main-job --help\n      Measure time and memory" in told.stdout
    assert "bench.py projectors --help\n      Measure the error" in told.stdout


@pytest.mark.parametrize("name", ["main-job", "projectors"])
def test_help_of_a_subcommand_lists_its_options(name):
    told = run_bench(name, "--help")
    assert told.code == 0
    assert f"usage: bench.py {name}" in told.stdout
    assert "--repeats INT" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a subcommand is missing; use one of: featurize, lds, main-job, projectors"),
        (["nothing"], "there is no subcommand nothing; use one of"),
        (["--repeats", "3"], "there is no subcommand --repeats; use one of"),
        (["projectors", "--nothing"], "--nothing"),
        (["main-job", "--repeats", "0"], "--repeats 0: must be at least 1"),
    ],
)
def test_what_is_not_a_command_is_refused_in_one_line(arguments, words):
    told = run_bench(*arguments)
    assert told.code == 2
    assert told.stdout == ""
    (line,) = told.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_options_may_stand_in_a_file(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("repeats: -5\n")
    told = run_bench("main-job", "--config", str(file))
    assert "--repeats -5: must be at least 1" in told.stderr
