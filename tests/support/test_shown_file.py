"""A file that one process shows: others find out, and of two at once one gives way."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dtrak_stream.support.shown_file import ShownFile, is_shown

DIES = """
import os, pathlib, sys
from dtrak_stream.support.shown_file import ShownFile
ShownFile(pathlib.Path(sys.argv[1])).show("one\\n")
sys.stdout.write("shown\\n"); sys.stdout.flush()
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def test_it_is_shown_until_its_process_ends_however_that_ends(tmp_path):
    path = tmp_path / "file"
    assert not is_shown(path)
    command = [sys.executable, "-c", DIES, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"shown\n"  # type: ignore[union-attr]
        assert is_shown(path)
        process.stdin.close()  # type: ignore[union-attr]
    assert process.returncode == -9
    assert not is_shown(path)
    assert path.read_text() == "one\n"


def test_it_may_be_shown_again_once_it_is_closed_and_by_itself_at_any_time(tmp_path):
    file = ShownFile(tmp_path / "file")
    for text in ("one", "two"):
        file.show(text)
        assert is_shown(tmp_path / "file")
    (tmp_path / "file").unlink()
    file.show("three")
    file.close()
    assert not is_shown(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "three"


def test_of_two_that_begin_at_once_the_first_gives_way(tmp_path):
    first, second = ShownFile(tmp_path / "file"), ShownFile(tmp_path / "file")
    first.show("first")
    second.show("second")
    with pytest.raises(FileExistsError, match="another command writes"):
        first.show("first again")
    assert (tmp_path / "file").read_text() == "second"
    second.show("second again")
