"""Results in order, some computed ahead."""

from __future__ import annotations

import pytest

from dtrak_stream.support.in_turn import in_turn


@pytest.mark.parametrize("ahead", [1, 3, 10])
def test_so_many_are_begun_before_the_first_is_taken(ahead):
    begun: list[int] = []

    def begin(each):
        begun.append(each)
        return each

    results = in_turn(begin, range(5), ahead, lambda each: -each)
    taken = []
    for result in results:
        taken.append(result)
        assert len(begun) == min(5, ahead + len(taken) - 1)
    assert taken == [0, -1, -2, -3, -4]
