"""The stage timer: exclusive times that add up, and what they say."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dtrak_stream.support.timing import StageTimer, bottleneck, describe


def test_a_stage_inside_another_pauses_it(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 3.5, 10.0, 11.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timer = StageTimer()
    with timer.stage("backward"), timer.stage("projection"):
        pass
    with timer.stage("forward"):
        pass
    assert timer.seconds() == {"backward": 1.0 + 0.5, "projection": 2.0, "forward": 1.0}


def test_time_counts_even_if_the_stage_fails():
    timer = StageTimer()
    with pytest.raises(ValueError, match="no"), timer.stage("forward"):
        raise ValueError("no")
    assert timer.seconds()["forward"] > 0


class QueueClock:
    """A device that works on its own: it passes a mark only when it is let to."""

    def __init__(self):
        self.made, self.passed, self.waits = 0, 0, 0

    def mark(self):
        self.made += 1
        return self.made

    def has_passed(self, mark):
        return mark <= self.passed

    def wait(self, mark):
        self.waits += 1
        self.passed = max(self.passed, mark)

    def seconds_between(self, start, stop):
        assert stop <= self.passed, "the device has not been there yet"
        return float(stop - start)


def test_stages_never_wait_for_the_device_until_they_are_asked_for():
    clock = QueueClock()
    timer = StageTimer(clock)
    for _ in range(1000):
        with timer.stage("backward"), timer.stage("projection"):
            pass
    assert clock.waits == 0
    assert timer.seconds() == {"backward": 2000.0, "projection": 1000.0}
    assert clock.waits == 1
    assert timer.seconds() == {"backward": 2000.0, "projection": 1000.0}


def test_marks_that_the_device_has_passed_are_not_kept():
    clock = QueueClock()
    timer = StageTimer(clock)
    for _ in range(10_000):
        with timer.stage("forward"):
            pass
        clock.passed = clock.made - 3  # it lags a little behind
    assert len(timer._marks) < 1000
    assert timer.seconds() == {"forward": 10_000.0}


def test_a_stage_that_runs_counts_once_it_is_over():
    timer = StageTimer(QueueClock())
    with timer.stage("forward"):
        assert timer.seconds() == {}
        with timer.stage("copy"):
            pass
        assert timer.seconds() == {"forward": 1.0, "copy": 1.0}
    assert timer.seconds() == {"forward": 2.0, "copy": 1.0}


def test_threads_beside_each_other_all_count():
    timer = StageTimer()

    def wait(name):
        with timer.beside(name):
            time.sleep(0.02)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(wait, ["decode", "decode", "write", "write"]))
    assert timer.seconds()["decode"] >= 0.04
    assert timer.seconds()["write"] >= 0.04


def test_the_bottleneck_is_the_largest_stage_of_the_busiest_lane():
    assert bottleneck({}) == ""
    assert bottleneck({"decode": 5.0, "forward": 3.0, "backward": 4.0}) == "backward"
    assert bottleneck({"decode": 8.0, "forward": 3.0, "backward": 4.0}) == "decode"


def test_shares_are_of_all_measured_time():
    assert describe({"backward": 3.0, "decode": 1.0}) == "decode 25 %, backward 75 %"
