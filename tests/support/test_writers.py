"""Writers: processes told apart, and the dead known from the living."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dtrak_stream.support.writers import Writer


def other() -> tuple[Writer, subprocess.Popen[str]]:
    script = (
        "from dtrak_stream.support.writers import Writer\n"
        "print(Writer.here().spelling, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    writer = Writer.spelled(process.stdout.readline().strip())
    assert writer is not None
    return writer, process


def test_spelling_and_reading_are_inverse():
    writer = Writer.here()
    assert Writer.spelled(writer.spelling) == writer
    assert not writer.is_dead


@pytest.mark.parametrize("text", ["", "features", "host-1", "a/b-1-2", "host-1-2-3"])
def test_what_names_no_writer_is_nobody(text):
    assert Writer.spelled(text) is None


def test_a_process_is_dead_when_it_ended():
    writer, process = other()
    with process:
        assert writer.is_here
        assert not writer.is_dead
        process.kill()  # not waited for: a process that ended but was not asked about is dead, too
        assert process.stdout is not None
        process.stdout.read()
        while not writer.is_dead:
            pass
    assert writer.is_dead


def test_a_number_used_again_is_another_process():
    here = Writer.here()
    assert Writer(here.host, here.process, here.start - 1).is_dead


def test_nothing_is_known_of_processes_elsewhere():
    elsewhere = Writer("elsewhere_0123abcd", 1, 1)
    assert not elsewhere.is_here
    assert not elsewhere.is_dead
