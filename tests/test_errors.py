"""What refusals have in common."""

from __future__ import annotations

import pytest

from dtrak_stream.errors import first_few


@pytest.mark.parametrize(
    ("names", "told"), [("a", "a"), ("abc", "a, b, c"), ("abcd", "a, b, c, ...")]
)
def test_of_many_names_three_are_told(names, told):
    assert first_few(list(names)) == told


def test_of_names_that_are_the_first_ones_only_it_is_told_that_there_are_more():
    assert first_few(["a", "b"], count=2) == "a, b"
    assert first_few(["a", "b"], count=9) == "a, b, ..."
    assert first_few([7, 8], shown=1) == "7, ..."
    assert first_few([]) == ""
