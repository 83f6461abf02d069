"""Numbers and words that no option may have."""

from __future__ import annotations

import re

import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.option_values import require_number, require_seed
from dtrak_stream.support.provenance import flat_options
from tests.soup import Soup, written


@pytest.mark.parametrize("value", [None, 2, 3, 7])
def test_a_number_in_its_range_passes_and_so_does_none(value):
    require_number("--bowls", value, 2, 7)


@pytest.mark.parametrize(
    ("value", "largest", "told"),
    [
        (1, None, "--bowls 1: must be at least 2; "),
        (1, 7_000, "--bowls 1: must be from 2 to 7,000; "),
        (7_001, 7_000, "--bowls 7001: must be from 2 to 7,000; "),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(value, largest, told):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(told)}"):
        require_number("--bowls", value, 2, largest)


def test_a_seed_is_an_unsigned_number_of_64_bits():
    require_seed(0)
    require_seed(2**64 - 1)
    for value in (-1, 2**64):
        with pytest.raises(ConfigurationError, match=f"^--seed {value}: must be from 0 to 18,446"):
            require_seed(value)


@pytest.mark.parametrize(
    "words",
    [
        ["--pot", ""],
        ["--pot="],
        ["--pot", "  "],
        ["--pot", "p", "--name="],
        ["--pot", "p", "--herbs", "dill", ""],
    ],
)
def test_an_option_that_is_given_empty_is_refused_by_its_name(words):
    with pytest.raises(ConfigurationError, match=r"^--(pot|name|herbs): is given, and empty; "):
        parse(Soup, words)


def test_an_empty_option_of_a_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(ConfigurationError, match=r"^--name: is given, and empty; "):
        parse(Soup, ["--pot", "p", "--config", written(tmp_path, "name: ''")])


def test_an_option_that_is_empty_by_default_may_be_given_empty():
    assert flat_options(parse(Soup, ["--pot", "p", "--motto="]))["motto"] == ""
    assert flat_options(parse(Soup, ["--pot", "p", "--note", ""]))["note"] == ""


@pytest.mark.parametrize("number", [2**64, -(2**64), 10**30])
def test_a_whole_number_that_no_file_can_hold_is_refused_by_its_option(number):
    with pytest.raises(ConfigurationError, match=f"^--bowls {number}: must be from "):
        parse(Soup, ["--pot", "p", f"--bowls={number}"])


def test_every_number_of_several_is_looked_at():
    with pytest.raises(ConfigurationError, match=f"^--plates {2**64}: must be from "):
        parse(Soup, ["--pot", "p", "--plates", "1", str(2**64)])
    assert parse(Soup, ["--pot", "p", "--bowls", str(2**64 - 1)]).bowls == 2**64 - 1
