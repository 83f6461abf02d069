"""--status and --log-json: of every command, in a configuration too, and never somebody's file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_QUARANTINED, EXIT_REFUSED, run
from dtrak_stream.cli.watch_options import WatchOptions
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.support.progress import progress, say
from tests.cli.test_command_line import Served, own_signals
from tests.commands_here import run_command
from tests.soup import Soup

__all__ = ["own_signals"]


def cooked(arguments, stage=lambda soup: Served(soup.pot)):
    """Run the command; return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        run(Soup, stage, arguments, program="dtrak-stream cook")
    return stopped.value.code


@pytest.fixture
def files(tmp_path):
    """The status file and the log of a command, and the options that say so."""
    status, log = tmp_path / "status", tmp_path / "log.jsonl"
    return status, log, ["--pot", "p", "--status", str(status), "--log-json", str(log)]


def ending(files):
    """Return what the status file tells behind the time, and the last object of the log."""
    status, log, _ = files
    return status.read_text().partition(" ")[2], json.loads(log.read_text().splitlines()[-1])


@pytest.mark.parametrize(
    ("quarantined", "code", "word"), [(0, EXIT_DONE, "done"), (2, EXIT_QUARANTINED, "quarantined")]
)
def test_files_tell_that_a_command_is_done_and_where_the_result_is(files, quarantined, code, word):
    assert cooked(files[-1], lambda soup: Served(soup.pot, quarantined)) == code
    status, last = ending(files)
    assert status == f"dtrak-stream cook {word}: p\n"
    assert (last["outcome"], last["exit_code"], last["message"]) == (word, code, "p")


def test_files_tell_what_was_refused(files):
    def refuse(_soup):
        raise InputError("is too\nhot", where="p", remedy="wait")

    assert cooked(files[-1], refuse) == EXIT_REFUSED
    status, last = ending(files)
    assert status == "dtrak-stream cook refused: p: is too hot; wait\n"
    assert (last["level"], last["exit_code"]) == ("error", EXIT_REFUSED)


def test_files_tell_of_an_error_of_the_program(files):
    def fail(_soup):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run(Soup, fail, files[-1], program="dtrak-stream cook")
    status, last = ending(files)
    assert status == "dtrak-stream cook failed: ZeroDivisionError: a bug\n"
    assert (last["outcome"], last["exit_code"]) == ("failed", 1)


def test_files_hear_of_a_stage_that_shows_nothing(files):
    def cook(soup):
        say("a remark")
        with progress(3, description="stirring", unit="turn", visible=False) as bar:
            bar.update(3)
        return Served(soup.pot)

    assert cooked(files[-1], cook) == EXIT_DONE
    lines = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert [line["event"] for line in lines] == ["begin", "remark", "progress", "progress", "end"]
    assert (lines[3]["stage"], lines[3]["done"]) == ("stirring", 3)


def test_a_command_that_is_run_again_replaces_its_status_and_adds_to_its_log(files):
    assert [cooked(files[-1]), cooked(files[-1])] == [EXIT_DONE] * 2
    assert len(files[0].read_text().splitlines()) == 1
    assert files[1].read_text().count('"event": "begin"') == 2


def test_a_status_file_that_a_running_command_writes_is_refused(files, capsys):
    def cook(soup):
        assert cooked(["--pot", "q", *files[-1][2:4]]) == EXIT_REFUSED
        return Served(soup.pot)

    assert cooked(files[-1], cook) == EXIT_DONE
    assert "another command that runs writes it; give each command" in capsys.readouterr().err
    assert ending(files)[0] == "dtrak-stream cook done: p\n"
    assert cooked(files[-1]) == EXIT_DONE


def test_the_options_may_stand_in_a_configuration(tmp_path, files):
    status, log, _ = files
    (tmp_path / "o.yaml").write_text(f"pot: p\nstatus: {status}\nlog_json: {log}\n")
    assert cooked(["--config", str(tmp_path / "o.yaml")]) == EXIT_DONE
    assert ending(files)[0] == "dtrak-stream cook done: p\n"


def text(path: Path) -> None:
    path.write_text("precious\n")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("precious\n")
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("put", [text, pipe, link, Path.mkdir, Path.touch])
@pytest.mark.parametrize("flag", ["--status", "--log-json"])
def test_whatever_else_is_there_is_refused_and_left(tmp_path, flag, put, capsys):
    put(tmp_path / "file")

    def never(_soup):
        raise AssertionError("a refused command ran")

    code = cooked(["--pot", "p", flag, str(tmp_path / "file")], never)
    assert code == EXIT_REFUSED
    assert str(tmp_path / "file") in (told := capsys.readouterr().err)
    assert flag in told
    assert told.count("\n") == 1
    if put in (text, link):
        assert (tmp_path / "file").read_text() == "precious\n"


def test_one_file_for_both_is_refused(tmp_path, capsys):
    same = str(tmp_path / "file")
    assert cooked(["--pot", "p", "--status", same, "--log-json", same]) == EXIT_REFUSED
    assert "is also that of --status" in capsys.readouterr().err
    assert not Path(same).exists()


def test_a_real_command_tells_its_stages_and_records_none_of_the_options(tmp_path, inputs):
    status, log = tmp_path / "status", tmp_path / "log"
    words = f"gram --store {inputs['run']}/train --quiet --out {tmp_path}/new.h5".split()
    told = run_command(*words, "--status", str(status), "--log-json", str(log))
    assert told.code == EXIT_DONE, told.stderr
    assert status.read_text().endswith(f" dtrak-stream gram done: {tmp_path}/new.h5\n")
    assert "Gram matrix" in {json.loads(line).get("stage") for line in log.read_text().splitlines()}
    assert "status" not in (tmp_path / "new.config.yaml").read_text()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_run_that_is_begun_may_hold_the_files(tmp_path, is_there):
    store, link = tmp_path / "store", tmp_path / "link"
    store.mkdir()
    link.symlink_to(store)
    if is_there:
        (store / "store.json").touch()
    config = FeaturizeConfig(images="i", store=store)
    options = WatchOptions(log_json=link / "deep" / "log")
    if is_there:
        options.refuse_folders_of(config)
    else:
        with pytest.raises(ConfigurationError, match=r"link/deep/log: lies in .*store"):
            options.refuse_folders_of(config)
