"""Claims: a piece of shared work has one holder, and a dead holder has none."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from dtrak_stream.support import claims as claims_module
from dtrak_stream.support.claims import (
    Claims,
    alone_with,
    holder_of,
    remove_dead_claim,
    remove_useless_claims,
)
from dtrak_stream.support.durable import remove_partials, write_bytes
from dtrak_stream.support.writers import Writer
from tests.claiming import holder
from tests.crashing import contents, finishes_before_step, steps_of_claims


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def losing_patience() -> Claims:
    return Claims(beat_seconds=0.05, patience_seconds=1.0)


def write_claim(folder: Path, name: str, holder: str) -> Path:
    path = folder / f"{name}.claim"
    path.write_text(holder)
    return path


def test_a_piece_has_one_holder_until_it_is_released(tmp_path):
    with Claims() as mine, Claims() as theirs:
        assert mine.is_free(tmp_path / "a")
        assert mine.take(tmp_path / "a")
        assert not mine.take(tmp_path / "a")
        assert not theirs.is_free(tmp_path / "a")
        assert not theirs.take(tmp_path / "a")
        assert theirs.take(tmp_path / "b")
        mine.release(tmp_path / "a")
        assert theirs.take(tmp_path / "a")


def test_a_claim_names_its_holder(tmp_path):
    with holder(tmp_path, "a") as process:
        writer = holder_of(tmp_path / "a")
        assert writer is not None
        assert writer.process == process.pid
        assert str(writer).startswith(f"process {process.pid} on ")
        assert holder_of(tmp_path / "b") is None


def test_leaving_releases_everything_even_on_an_error(tmp_path):
    def fail() -> None:
        with Claims() as claims:
            assert claims.take(tmp_path / "a")
            assert claims.take(tmp_path / "b")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == []


def test_the_claim_of_a_killed_process_is_taken_at_once(tmp_path):
    with holder(tmp_path, "a") as process, Claims() as claims:
        assert not claims.take(tmp_path / "a")
        process.kill()
        process.wait()
        assert claims.take(tmp_path / "a")


def test_a_process_with_the_number_of_a_dead_one_holds_nothing(tmp_path):
    """The number of this very process, that began at another time."""
    here = Writer.here()
    write_claim(tmp_path, "a", Writer(here.host, here.process, here.start - 1).spelling)
    with Claims() as claims:
        assert claims.take(tmp_path / "a")


def test_a_process_that_hangs_loses_its_claims(tmp_path):
    with holder(tmp_path, "a") as process, losing_patience() as claims:
        os.kill(process.pid, signal.SIGSTOP)
        assert not claims.take(tmp_path / "a")
        begin = time.monotonic()
        while not claims.take(tmp_path / "a"):
            time.sleep(0.05)
        assert time.monotonic() - begin > 0.9


def test_a_claim_of_another_host_lasts_while_it_is_touched(tmp_path):
    """Clocks are not compared: the times of its touches may be of any year."""
    path = write_claim(tmp_path, "a", "elsewhere_0123abcd-17-4")
    with losing_patience() as claims:
        for beat in range(30):  # 1.5 s, longer than patience lasts
            os.utime(path, (beat, beat))
            assert not claims.take(tmp_path / "a")
            time.sleep(0.05)
        time.sleep(1.1)
        assert claims.take(tmp_path / "a")
        assert holder_of(tmp_path / "a") == Writer.here()


def test_a_claim_that_does_not_say_whose_it_is_lasts_no_longer(tmp_path):
    write_claim(tmp_path, "a", "")  # killed between making the file and writing it
    with losing_patience() as claims:
        assert not claims.take(tmp_path / "a")
        time.sleep(1.1)
        assert claims.take(tmp_path / "a")


def test_claims_that_are_held_are_touched(tmp_path):
    with losing_patience() as claims:
        claims.take(tmp_path / "a")
        path = tmp_path / "a.claim"
        before = path.stat().st_mtime_ns
        deadline = time.monotonic() + 30
        while path.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_who_lost_a_claim_neither_touches_nor_removes_the_new_one(tmp_path):
    with losing_patience() as claims:
        claims.take(tmp_path / "a")
        (tmp_path / "a.claim").unlink()
        path = write_claim(tmp_path, "a", "elsewhere_0123abcd-17-4")
        os.utime(path, (1, 1))
        time.sleep(0.3)
        assert path.stat().st_mtime == 1
    assert names(tmp_path) == ["a.claim"]


def share_pieces(folder: Path) -> None:
    """Write three pieces, each by whoever holds it, while claims are touched all the time."""
    with Claims(beat_seconds=0.001) as claims:
        pieces = [folder / str(number) for number in range(3)]
        for piece in claims.share(pieces, Path.exists, lambda _others: None):
            write_bytes(piece, piece.name.encode())
            time.sleep(0.01)
            claims.release(piece)
    remove_useless_claims(folder, Path.exists)
    remove_partials(folder)


@pytest.mark.parametrize("left_by_another", [False, True])
def test_a_kill_at_any_step_of_a_claim_costs_nobody_a_piece(tmp_path, impatient, left_by_another):
    """Before and after it is made, in the middle of its name, as it is touched and removed."""
    here, step = Writer.here(), 0
    while True:
        folder = tmp_path / str(step)
        folder.mkdir()
        if left_by_another:  # and is taken over
            dead = Writer(here.host, here.process, here.start - 1)
            write_claim(folder, "1", dead.spelling)
        over = finishes_before_step(partial(share_pieces, folder), step, steps_of_claims)
        share_pieces(folder)
        assert contents(folder) == {name: name.encode() for name in "012"}
        if over or step > 60:
            break
        step += 1 if step < 12 else 7
    assert step > 12  # for each piece four as it is made, two as it is removed, and touches


def test_shared_work_is_done_once(tmp_path):
    pieces = [tmp_path / str(number) for number in range(40)]
    done: set[Path] = set()
    computed: list[Path] = []

    def work() -> None:
        with Claims() as claims:
            for piece in claims.share(pieces, done.__contains__, lambda _others: None):
                computed.append(piece)
                time.sleep(0.002)
                done.add(piece)
                claims.release(piece)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(computed) == sorted(pieces)
    assert names(tmp_path) == []


def test_whoever_has_nothing_left_waits_for_the_others_and_takes_over(tmp_path, monkeypatch):
    monkeypatch.setattr(claims_module, "_POLL_SECONDS", 0.01)
    pieces = [tmp_path / str(number) for number in range(3)]
    done: set[Path] = set()
    waits: list[list[Path]] = []
    with holder(tmp_path, "0", "1") as process, Claims() as claims:

        def waiting(others: Sequence[Path]) -> None:
            waits.append(list(others))
            if len(waits) == 3:
                done.add(pieces[0])  # the other finishes a piece
            if len(waits) == 6:
                process.kill()
                process.wait()

        taken = []
        for piece in claims.share(pieces, done.__contains__, waiting):
            taken.append(piece.name)
            done.add(piece)
            claims.release(piece)
    assert taken == ["2", "1"]
    assert waits == [pieces[:2]] * 3 + [pieces[1:2]] * 3


def test_claims_on_finished_pieces_and_of_dead_processes_are_removed(tmp_path):
    here = Writer.here()
    write_claim(tmp_path, "dead.h5", Writer(here.host, here.process, here.start - 1).spelling)
    for name in ("done.h5", "missing.h5"):
        write_claim(tmp_path, name, "elsewhere_0123abcd-17-4")
    remove_useless_claims(tmp_path, lambda piece: piece.name == "done.h5")
    assert names(tmp_path) == ["missing.h5.claim"]


def test_the_claim_of_a_dead_process_alone_is_removed_from_a_piece(tmp_path):
    here = Writer.here()
    write_claim(tmp_path, "dead.h5", Writer(here.host, here.process, here.start - 1).spelling)
    write_claim(tmp_path, "living.h5", here.spelling)
    for name in ("dead.h5", "living.h5", "unclaimed.h5"):
        remove_dead_claim(tmp_path / name)
    assert names(tmp_path) == ["living.h5.claim"]


def test_one_process_at_a_time_is_alone_with_a_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims_module, "_POLL_SECONDS", 0.01)
    result = tmp_path / "new" / "gram.h5"
    inside: list[str] = []

    def later() -> None:
        with alone_with(result):
            inside.append("second")

    with alone_with(result):
        second = threading.Thread(target=later)
        second.start()
        time.sleep(0.1)
        inside.append("first")
    second.join()
    assert inside == ["first", "second"]
    assert names(result.parent) == []
    assert f"gram.h5: waiting for process {os.getpid()}" in capsys.readouterr().err
