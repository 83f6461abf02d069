"""Bars that stay out of the way, and lines that go to standard error."""

from __future__ import annotations

import pytest

from dtrak_stream.support.progress import heard_by, progress, say, untold


class Listening:
    """Keeps what it hears."""

    def __init__(self):
        self.lines, self.standings = [], []

    def advanced(self, stages):
        self.standings.append([str(stage.standing()).partition(",")[0] for stage in stages])

    def said(self, line):
        self.lines.append(line)


def use(bar, count=3):
    with bar:
        for _ in range(count):
            bar.update()
        bar.refresh()


@pytest.fixture
def terminal(monkeypatch):
    """Standard error of the test, which says that it is a terminal."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)


def test_an_invisible_bar_draws_nothing(capfd):
    use(progress(3, description="scoring", unit="block", visible=False))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("place", ["file", "terminal"])
def test_a_visible_bar_draws_count_rate_and_time_left_on_standard_error(capfd, place, request):
    if place == "terminal":
        request.getfixturevalue("terminal")
    use(progress(7, description="scoring", unit="block"))
    out, drawn = capfd.readouterr()
    assert out == ""
    assert "scoring:" in drawn
    assert "3/7" in drawn
    assert "block/s" in drawn or "s/block" in drawn
    assert ("\r" in drawn) == (place == "terminal")


@pytest.mark.parametrize("place", ["file", "terminal"])
def test_what_is_over_at_once_draws_no_bar(capfd, place, request):
    if place == "terminal":
        request.getfixturevalue("terminal")
    with progress(3, description="scoring", unit="block") as bar:
        bar.update(3)
    assert "3/3" not in capfd.readouterr().err


def test_a_bar_starts_at_what_is_already_done(capfd):
    use(progress(9, description="scoring", unit="block", done=4), count=1)
    assert "5/9" in capfd.readouterr().err


def test_a_file_gets_a_line_now_and_then_and_a_last_one(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress(1000, description="scoring", unit="block") as bar:
        bar.set_postfix_str("shards 1/3")
        for _ in range(990):
            now[0] += 0.125
            bar.update()
        bar.update()
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "scoring: 40/1,000 block, 8.0 block/s, 2:00 left (shards 1/3)"
    assert [line.split()[1] for line in lines] == [f"{n}/1,000" for n in (40, 280, 520, 760, 991)]


def test_a_line_goes_to_standard_error_alone(capfd):
    say("the Gram matrix is finished")
    assert capfd.readouterr() == ("", "the Gram matrix is finished\n")


@pytest.mark.usefixtures("terminal")
def test_a_line_said_beside_a_bar_stands_on_a_line_of_its_own(capfd):
    with progress(3, description="scoring", unit="block") as bar:
        bar.refresh()
        say("a line")
    drawn = capfd.readouterr().err
    assert "a line" in [line.rpartition("\r")[2] for line in drawn.splitlines()]


def test_a_listener_hears_of_stages_within_stages_shown_or_not_and_of_lines():
    heard = Listening()
    with heard_by(heard), progress(2, description="outer", unit="x", visible=False) as outer:
        outer.update()
        with progress(9, description="inner", unit="y", done=3, visible=False) as inner:
            inner.n = 7
            inner.refresh()
        say("halfway")
    say("over")
    assert heard.standings == [
        ["outer: 0/2 x"],
        ["outer: 1/2 x", "inner: 3/9 y"],
        ["outer: 1/2 x", "inner: 7/9 y"],
        ["outer: 1/2 x", "inner: 7/9 y"],
        ["outer: 1/2 x"],
    ]
    assert heard.lines == ["halfway"]


def test_nobody_hears_of_runs_that_a_bar_counts():
    heard = Listening()
    with heard_by(heard), untold():
        use(progress(3, description="scoring", unit="block", visible=False))
        say("a line")
    assert (heard.lines, heard.standings) == ([], [])
