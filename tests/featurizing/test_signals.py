"""The command as a process that is signalled, and how it ends."""

from __future__ import annotations

import json
import random
import signal

import pytest

from dtrak_stream.cli.command_line import (
    EXIT_DONE,
    EXIT_QUARANTINED,
    EXIT_REFUSED,
)
from dtrak_stream.cli.interruption import EXIT_INTERRUPTED
from dtrak_stream.featurizing.run import featurize
from tests.featurizing.small_runs import LONG, MANY, shards_in
from tests.small_jobs import (
    Beside,
    flags,
    run_tool,
    signalled,
    small_job,
    start_tool,
    stored,
)


def stopped_half_way(config, process, number):
    """Signal the command at a random moment after its first shard appeared."""
    delay = random.uniform(0, 0.2)
    first = config.store / "shards" / "00000000.h5"
    code, out, errors = signalled(process, number, first.exists, delay)
    done = len(shards_in(config.store))
    assert 0 < done < MANY, f"{done} shards were done {delay} s after the first one"
    return code, out, errors


def test_kill_9_of_the_command_and_a_restart_give_the_same_bytes(
    model_folder, many_images, alone, tmp_path, capsys
):
    config = small_job(model_folder, many_images, tmp_path / "s", **LONG)
    process = start_tool("featurize", flags(config))
    assert stopped_half_way(config, process, signal.SIGKILL)[0] == -signal.SIGKILL
    before = {name: path.stat().st_mtime_ns for name, path in shards_in(config.store).items()}
    code, out, errors = run_tool("featurize", flags(config), capsys)
    assert code == EXIT_DONE, errors
    assert out == f"{config.store}\n"
    assert f"{MANY - len(before)} images featurized" in errors
    after = {name: path.stat().st_mtime_ns for name, path in shards_in(config.store).items()}
    assert before.items() <= after.items()
    assert stored(config.store) == alone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_to_go_on_and_keeps_what_is_done(
    model_folder, many_images, alone, tmp_path, number
):
    config = small_job(model_folder, many_images, tmp_path / "s", **LONG)
    status, log = tmp_path / "status", tmp_path / "log"
    watched = ["--status", str(status), "--log-json", str(log)]
    process = Beside("featurize", [*flags(config), *watched], tmp_path)
    code, out, errors = stopped_half_way(config, process, number)
    assert (code, out) == (EXIT_INTERRUPTED, ""), errors
    done = len(shards_in(config.store))
    *_, last = errors.splitlines()
    assert last == (
        f"interrupted: {done} of {MANY} shards of {config.store} are done and kept; "
        "run the same command again to continue where it stopped"
    )
    assert f"featurize {last}\n" in status.read_text()
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    [*_, counted] = [line for line in logged if line["event"] == "progress"]
    assert (counted["stage"], counted["total"]) == ("featurizing", MANY)
    assert done <= counted["done"] < MANY
    assert logged[-1]["exit_code"] == EXIT_INTERRUPTED
    assert f"interrupted: {logged[-1]['message']}" == last
    assert not list(config.store.rglob("*.partial"))
    assert featurize(config).computed == MANY - done
    assert stored(config.store) == alone


def test_the_command_reports_quarantined_samples_by_its_exit_code(
    model_folder, spoilt, tmp_path, capsys
):
    config = small_job(model_folder, spoilt, tmp_path / "s")
    code, out, errors = run_tool("featurize", flags(config), capsys)
    assert (code, out) == (EXIT_QUARANTINED, f"{config.store}\n")
    assert f"3 samples quarantined, see {config.store}/quarantine.jsonl" in errors


def test_the_command_refuses_in_one_line(model_folder, spoilt, begun, capsys):
    config = small_job(model_folder, spoilt, begun, seed=1)
    code, out, errors = run_tool("featurize", flags(config), capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    [told] = [
        line for line in errors.splitlines(keepends=True) if not line.startswith(model_folder)
    ]
    assert told == (
        f"error: {begun}: seed differs: stored 0, requested 1; give the options the store was "
        "begun with, or another --store (or --run)\n"
    )
