"""Places that cannot be written to are refused without leaving a trace in those that can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dtrak_stream.errors import InputError
from dtrak_stream.support.destinations import require_file, require_folder


@pytest.mark.parametrize("name", ["new", "new/deeper/still", ""])
def test_a_place_that_can_be_written_to_is_left_as_it_was(tmp_path, name):
    require_folder(tmp_path / name, flag="--run")
    require_file(tmp_path / "new" / "scores.h5", flag="--out")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_may_be_written_again(tmp_path):
    (tmp_path / "scores.h5").write_text("before")
    require_file(tmp_path / "scores.h5", flag="--out")
    assert (tmp_path / "scores.h5").read_text() == "before"


def test_a_relative_place_is_one_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    require_folder(Path("runs/new"), flag="--run")
    Path("runs").write_text("a file")
    with pytest.raises(InputError, match=r"^--run runs/new: cannot be made: .*runs is no folder"):
        require_folder(Path("runs/new"), flag="--run")


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match=r"^--run .*/file: is a file, not a folder; .* as --run"):
        require_folder(tmp_path / "file", flag="--run")
    with pytest.raises(InputError, match="file is no folder"):
        require_file(tmp_path / "file" / "deeper" / "scores.h5", flag="--out")


def test_a_link_to_nothing_is_in_the_way(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="not a folder"):
        require_folder(tmp_path / "link", flag="--run")


def test_a_folder_in_the_way_of_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^--out .*: is a folder; "):
        require_file(tmp_path, flag="--out")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks for a place nobody may write to")
def test_a_place_that_is_not_to_be_written_to_is_refused():
    with pytest.raises(InputError, match=r"^--run /proc/run: /proc cannot be written to \("):
        require_folder(Path("/proc/run"), flag="--run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="permission denied"):
        require_folder(tmp_path / "run", flag="--run")
