"""Results in the order of what they are of, some of which are computed ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Begun = TypeVar("Begun")
Result = TypeVar("Result")


def in_turn(
    begin: Callable[[Given], Begun],
    given: Iterable[Given],
    ahead: int,
    result: Callable[[Begun], Result],
) -> Iterator[Result]:
    """Begin the work on what is given, `ahead` of them at a time, and yield results in order.

    Parameters
    ----------
    begin
        Begins the work on one.
    given
        Taken when there is room for it.
    ahead
        How many are begun, and their results not taken yet; at least 1.
    result
        Waits for the result of one that was begun.
    """
    waiting = iter(given)
    begun = deque(begin(each) for each in islice(waiting, ahead))
    while begun:
        yield result(begun.popleft())
        begun.extend(begin(each) for each in islice(waiting, 1))
