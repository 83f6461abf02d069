"""Options that are not used are named, and only those that were given."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.unused_options import refuse_unused, without_unused


@dataclass(frozen=True)
class Options:
    speed: int = 1
    top_height: str | None = None
    colour: str = "red"


GIVEN = Options(speed=2, top_height="3", colour="blue")
NAMES = ("speed", "top_height")


def test_what_is_not_used_is_left_out_and_said_in_one_line(capsys):
    assert without_unused(GIVEN, NAMES, "there is no wind") == Options(colour="blue")
    assert capsys.readouterr().err == "--speed, --top-height: not used, there is no wind\n"


def test_of_what_was_not_given_nothing_is_said(capsys):
    options = Options(colour="blue")
    assert without_unused(options, NAMES, "there is no wind") is options
    refuse_unused(options, NAMES, "there is no wind")
    assert capsys.readouterr().err == ""


def test_what_must_not_be_given_is_refused_by_name():
    told = r"^--top-height: not used, there is no wind; leave"
    with pytest.raises(ConfigurationError, match=told):
        refuse_unused(Options(top_height="3"), NAMES, "there is no wind")
