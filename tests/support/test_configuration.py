"""Options from YAML files and flags."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.option_values import MAY_BE_EMPTY
from tests.soup import Soup, Spices, written

FILE = "pot: in file\nbowls: 3\nherbs: [dill, thyme]\npepper: 1e-3\nsalted: false\n"
IN_FILE = Soup(Path("in file"), "soup", 3, ("dill", "thyme"), Spices(0.001, False))


def test_options_come_from_a_file(tmp_path):
    path = written(tmp_path, FILE)
    assert parse(Soup, ["--config", path]) == IN_FILE
    assert parse(Soup, [f"--config={path}"]) == IN_FILE


@pytest.mark.parametrize("file_first", [True, False])
def test_flags_win_over_the_file(tmp_path, file_first):
    given = ["--config", written(tmp_path, FILE)]
    flags = ["--bowls", "4", "--salted", "--herbs", "mint"]
    expected = dataclasses.replace(IN_FILE, bowls=4, herbs=("mint",), spices=Spices(0.001))
    assert parse(Soup, given + flags if file_first else flags + given) == expected


def test_a_later_file_wins_over_an_earlier_one(tmp_path):
    first = written(tmp_path, FILE)
    second = tmp_path / "second.yaml"
    second.write_text("bowls: 9")
    assert parse(Soup, ["--config", first, "--config", str(second)]).bowls == 9


@dataclass(frozen=True)
class Label:
    """What is written on a jar."""

    words: str | None = field(default=None, metadata=MAY_BE_EMPTY)
    """What it says."""
    language: str | None = None
    """In which language."""


def test_an_option_that_may_be_empty_is_not_taken_for_one_that_was_forgotten(tmp_path):
    assert parse(Label, ["--words", ""]) == Label("")
    assert parse(Label, ["--config", written(tmp_path, "words: ''")]) == Label("")
    with pytest.raises(ConfigurationError, match=r"^--language: is given, and empty"):
        parse(Label, ["--words", "", "--language", ""])


@pytest.mark.parametrize("flag", ["salted", "stirred"])
@pytest.mark.parametrize("word", ["yes", "no"])
def test_yes_and_no_in_a_file_mean_what_the_option_takes(tmp_path, flag, word):
    """YAML takes the bare words for truth values, which a choice of words is not."""
    spices = parse(Soup, ["--config", written(tmp_path, f"pot: p\n{flag}: {word}")]).spices
    assert getattr(spices, flag) == (word if flag == "stirred" else word == "yes")


@pytest.mark.parametrize(
    ("line", "soup"),
    [
        ("bowls: null", Soup(Path("p"))),
        ("bowls:", Soup(Path("p"))),
        ("herbs: []", Soup(Path("p"))),
        ("name: 010", Soup(Path("p"), "010")),
        ("name: 2024-01-01", Soup(Path("p"), "2024-01-01")),
        ("name: 'yes'", Soup(Path("p"), "yes")),
        ("name: -x", Soup(Path("p"), "-x")),
        ("name: --pot", Soup(Path("p"), "--pot")),
        ("motto: ''", Soup(Path("p"))),
        ("name: 'a b # c: d'", Soup(Path("p"), "a b # c: d")),
        ("bowls: -2", Soup(Path("p"), bowls=-2)),
        ("provenance: {python: 3.11}", Soup(Path("p"))),
        ("", Soup(Path("p"))),
    ],
)
def test_a_value_in_a_file_is_taken_as_it_is_written(tmp_path, line, soup):
    assert parse(Soup, ["--config", written(tmp_path, f"pot: p\n{line}")]) == soup


@pytest.mark.parametrize("name", ["max_bowls", "max-bowls"])
def test_underscores_in_a_file_are_dashes(tmp_path, name):
    @dataclass(frozen=True)
    class Kitchen:
        max_bowls: int = 1
        """Limit."""

    assert parse(Kitchen, ["--config", written(tmp_path, f"{name}: 5")]) == Kitchen(5)


def test_a_file_that_is_not_named_is_refused():
    with pytest.raises(InputError, match=r"^--config \.: cannot read the configuration \(Is a dir"):
        parse(Soup, ["--pot", "p", "--config"])
