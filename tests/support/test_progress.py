"""Bars that stay out of the way, and lines that go to standard error."""

from __future__ import annotations

from dtrak_stream.support.progress import progress, say


def use(bar, count=3):
    with bar:
        for _ in range(count):
            bar.update()
        bar.refresh()


def test_an_invisible_bar_draws_nothing(capfd):
    use(progress(3, description="scoring", unit="block", visible=False))
    assert capfd.readouterr() == ("", "")


def test_a_visible_bar_draws_count_rate_and_time_left_on_standard_error(capfd):
    use(progress(7, description="scoring", unit="block"))
    out, drawn = capfd.readouterr()
    assert out == ""
    assert "scoring:" in drawn
    assert "3/7" in drawn
    assert "block/s" in drawn or "s/block" in drawn


def test_what_is_over_at_once_draws_no_bar(capfd):
    with progress(3, description="scoring", unit="block") as bar:
        bar.update(3)
    assert "3/3" not in capfd.readouterr().err


def test_a_bar_starts_at_what_is_already_done(capfd):
    use(progress(9, description="scoring", unit="block", done=4), count=1)
    assert "5/9" in capfd.readouterr().err


def test_a_line_goes_to_standard_error_alone(capfd):
    say("the Gram matrix is finished")
    assert capfd.readouterr() == ("", "the Gram matrix is finished\n")


def test_a_line_said_beside_a_bar_stands_on_a_line_of_its_own(capfd):
    with progress(3, description="scoring", unit="block") as bar:
        bar.refresh()
        say("a line")
    drawn = capfd.readouterr().err
    assert "a line" in [line.rpartition("\r")[2] for line in drawn.splitlines()]
