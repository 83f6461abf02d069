"""How a command ends: its last line, exit codes, Ctrl-C, and refusals in one line."""

from __future__ import annotations

import os
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from dtrak_stream.cli.command_line import (
    EXIT_DONE,
    EXIT_QUARANTINED,
    EXIT_REFUSED,
    run,
)
from dtrak_stream.cli.interruption import EXIT_INTERRUPTED
from dtrak_stream.errors import ConfigurationError, InputError, InterruptedRunError
from tests.small_jobs import run_tool
from tests.soup import Soup, written


@dataclass(frozen=True)
class Served:
    path: Path
    quarantined: int = 0


@pytest.fixture(autouse=True)
def own_signals():
    """Running a command takes over SIGTERM; the tests give it back."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def exit_of(stage, arguments, capsys):
    """Run a command; return its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stopped:
        run(Soup, stage, arguments)
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def refusal(arguments, capsys):
    """Run a command that must be refused; return the one line it says."""

    def never(_soup):
        raise AssertionError("a refused command ran")

    code, out, errors = exit_of(never, arguments, capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert errors.endswith("\n")
    return errors.strip()


def test_the_result_is_the_last_line_and_the_exit_code_is_0(capsys):
    def cook(soup):
        print("bubbling")
        return Served(soup.pot / "soup.txt")

    assert exit_of(cook, ["--pot", "p"], capsys) == (EXIT_DONE, "bubbling\np/soup.txt\n", "")


def test_quarantined_samples_give_exit_code_3(capsys):
    code, out, _ = exit_of(lambda soup: Served(soup.pot, 2), ["--pot", "p"], capsys)
    assert (code, out) == (EXIT_QUARANTINED, "p\n")


def test_a_refusal_gives_exit_code_2_and_one_line(capsys):
    def refuse(_soup):
        raise InputError("is too\nhot", where="p", remedy="wait")

    answer = exit_of(refuse, ["--pot", "p"], capsys)
    assert answer == (EXIT_REFUSED, "", "error: p: is too hot; wait\n")


def test_a_path_that_the_system_refuses_gives_exit_code_2_and_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    def write(soup):
        (soup.pot / "inside").mkdir(parents=True)

    code, out, errors = exit_of(write, ["--pot", str(tmp_path / "file")], capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert errors.startswith(f"error: {tmp_path}/file/inside: not a directory; ")
    assert errors.count("\n") == 1


def test_an_error_of_the_program_is_not_dressed_up_as_a_refusal(capsys):
    def fail(_soup):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run(Soup, fail, ["--pot", "p"])


@pytest.mark.parametrize(
    ("interrupt", "told"),
    [(KeyboardInterrupt(), ""), (InterruptedRunError("2 of 3 pots are done"), "2 of 3 pots are d")],
)
def test_an_interrupt_gives_exit_code_130_and_how_to_go_on(capsys, interrupt, told):
    def interrupted(_soup):
        raise interrupt

    code, out, errors = exit_of(interrupted, ["--pot", "p"], capsys)
    assert (code, out) == (EXIT_INTERRUPTED, "")
    assert errors.startswith(f"interrupted: {told}")
    assert errors.endswith("run the same command again to continue where it stopped\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt(capsys, number):
    def stopped(_soup):
        os.kill(os.getpid(), number)
        raise AssertionError("the signal did not arrive")

    assert exit_of(stopped, ["--pot", "p"], capsys)[0] == EXIT_INTERRUPTED


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"cannot read the configuration (No such file or directory)"),
        ("a: [b", "not YAML"),
        ("a: b: c", "not YAML"),
        ("\x07", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        ("- a\n- b", "not a mapping of options"),
        ("soup", "not a mapping of options"),
        ("", "not a mapping of options"),
        ("pot: a\nname: b\npot: c", "not YAML (pot stands there twice)"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, capsys, content, told):
    path = str(tmp_path / "gone.yaml") if content is None else written(tmp_path, content)
    line = refusal(["--pot", "p", "--config", path], capsys)
    assert line.startswith(f"error: --config {path}: {told}")


def test_a_folder_as_configuration_is_refused(tmp_path, capsys):
    line = refusal(["--pot", "p", "--config", str(tmp_path)], capsys)
    assert "cannot read the configuration (Is a directory)" in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--pot"),
        (["--pot"], "--pot"),
        (["--pot", "p", "--ladle", "x"], "--ladle"),
        (["--pot", "p", "--bowls", "many"], "--bowls"),
        (["--pot", "p", "--stirred", "maybe"], "invalid choice 'maybe' for argument '--stirred'"),
        (["--pot", "p", "stray"], "stray"),
        (["--pot", "p", "--config"], "--config"),
    ],
)
def test_options_that_do_not_exist_or_fit_are_refused_in_one_line(capsys, arguments, told):
    line = refusal(arguments, capsys)
    assert told in line
    assert not set(line) & set("│╭╮╰╯─")


def test_an_unknown_option_in_a_file_is_refused_by_its_name(tmp_path, capsys):
    path = written(tmp_path, "pot: p\nladle: long")
    line = refusal(["--config", path], capsys)
    assert line.startswith(f"error: command line or --config {path}: ")
    assert "--ladle" in line
    assert line.endswith("run with --help for all options")


def test_options_that_contradict_each_other_are_refused_in_one_line(capsys, tmp_path):
    arguments = ["--out", str(tmp_path), "--sampler", "ddpm", "--eta", "0.5"]
    code, _, errors = run_tool("generate", arguments, capsys)
    assert (code, errors.count("\n")) == (EXIT_REFUSED, 1)
    assert errors.startswith("error: --eta: 0.5 is not supported; ")


def test_a_configuration_error_names_what_where_and_what_to_do():
    error = ConfigurationError("is cold", where="--soup", remedy="heat it")
    assert str(error) == "--soup: is cold; heat it"


def test_pillows_warning_of_an_image_that_is_refused_anyway_is_not_shown(capsys):
    def warn(soup):
        warnings.warn(f"Image size ({10**8} pixels) exceeds limit of 5 pixels", stacklevel=1)
        return Served(soup.pot)

    with warnings.catch_warnings():
        assert exit_of(warn, ["--pot", "p"], capsys) == (EXIT_DONE, "p\n", "")
