"""HDF5 files of any size: whole, or not there, whichever byte the disk has no room for."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import DiskFullError
from dtrak_stream.support.durable import remove_partials
from dtrak_stream.support.hdf5 import SteadyFile, new_hdf5
from tests.crashing import contents, finishes_before_step, halves_of_writes

ROWS = np.arange(4000.0).reshape(40, 100)


class Filling:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: memoryview) -> int:
        taken = min(len(content), self._room)
        if len(content) and not taken:
            raise OSError(errno.ENOSPC, "no space left on device")
        self._room -= taken
        return int(self._file.write(content[:taken]))


def write(path: Path) -> None:
    with new_hdf5(path) as new:
        rows = new.file.create_dataset("rows", ROWS.shape, np.float64)
        for start in range(0, len(ROWS), 10):
            rows[start : start + 10] = ROWS[start : start + 10]
        new.file.create_group("group").attrs["text"] = "x" * 500
        new.file["group"]["more"] = np.arange(10)


def test_a_kill_in_the_middle_of_any_write_leaves_no_file(tmp_path):
    write(tmp_path / "whole.h5")
    step, path = 0, tmp_path / "new" / "new.h5"
    while not finishes_before_step(lambda: write(path), step, halves_of_writes):
        assert not path.exists()
        assert list(path.parent.glob("*.partial"))
        remove_partials(path.parent)
        step += 1
    assert step > 4
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()


def room_for(count: int, patch: pytest.MonkeyPatch) -> None:
    """Let every file have room for so many bytes, as it is written."""
    begin = SteadyFile.__init__

    def filling(self: SteadyFile, path: Path) -> None:
        begin(self, path)
        self._file = Filling(self._file, count)  # type: ignore[assignment]

    patch.setattr(SteadyFile, "__init__", filling)


def test_it_is_a_file_as_hdf5_itself_would_write(tmp_path):
    write(tmp_path / "new.h5")
    with h5py.File(tmp_path / "new.h5") as file:
        assert np.array_equal(file["rows"], ROWS)
        assert file["group"].attrs["text"] == "x" * 500
    assert list(contents(tmp_path)) == ["new.h5"]


def test_whichever_byte_does_not_fit_nothing_is_left(tmp_path, monkeypatch):
    for count in (*range(0, 1200, 61), *range(1200, 32_000, 997)):
        with monkeypatch.context() as patch:
            room_for(count, patch)
            with pytest.raises(DiskFullError, match="no room left to write this file"):
                write(tmp_path / "new.h5")
        assert contents(tmp_path) == {}


def test_where_there_is_room_it_is_the_same_file(tmp_path, monkeypatch):
    write(tmp_path / "whole.h5")
    room_for(100_000, monkeypatch)
    write(tmp_path / "new.h5")
    assert (tmp_path / "new.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_work_stops_at_the_piece_that_does_not_fit(tmp_path, monkeypatch):
    room_for(10_000, monkeypatch)
    done = list[int]()

    def work() -> None:
        with new_hdf5(tmp_path / "new.h5") as new:
            rows = new.file.create_dataset("rows", (100, 1000), np.float64)
            for row in range(100):
                rows[row] = row
                done.append(row)
                new.check()

    with pytest.raises(DiskFullError):
        work()
    assert len(done) < 20


def test_an_error_of_the_work_itself_is_told(tmp_path):
    def work() -> None:
        with new_hdf5(tmp_path / "new.h5") as new:
            new.file["x"] = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert contents(tmp_path) == {}
