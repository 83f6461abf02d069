"""Rates by the last minute, and the words for rates and times."""

from __future__ import annotations

import pytest

from dtrak_stream.support.pace import Pace, clock, rate_in_words


@pytest.fixture
def clock_at(monkeypatch):
    """Return a function that sets the time."""
    now = [0.0]
    monkeypatch.setattr("dtrak_stream.support.pace.time.monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_a_rate_is_that_of_what_was_done_in_the_time(clock_at):
    pace = Pace(100)
    assert pace.per_second(100) is None
    clock_at(4)
    pace.note(110)
    assert pace.per_second(110) == 2.5


def test_a_rate_forgets_what_is_a_minute_past(clock_at):
    pace, done = Pace(0), 0
    for second in range(1, 200):
        clock_at(second)
        done += 10 if second <= 100 else 1
        pace.note(done)
    assert pace.per_second(done) == 1


def test_a_stage_that_stands_still_slows_down(clock_at):
    pace = Pace(0)
    clock_at(10)
    pace.note(10)
    clock_at(40)
    assert pace.per_second(10) == 0.25


@pytest.mark.parametrize(
    ("rate", "words"), [(1234.56, "1,234.6 img/s"), (1, "1.0 img/s"), (0.25, "4.0 s/img")]
)
def test_a_rate_in_words(rate, words):
    assert rate_in_words(rate, "img") == words


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (65.4, "1:05"), (3600, "1:00:00"), (7445, "2:04:05"), (277_300, "3 d 05 h")],
)
def test_a_time_as_a_clock_shows_it(seconds, shown):
    assert clock(seconds) == shown
