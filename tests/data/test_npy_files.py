"""Lists of numbers or words beside the images: what is none is refused, what is away is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.data.npy_files import read_npy
from dtrak_stream.errors import InputError, UnavailableError
from dtrak_stream.evaluation.subsets import read_strata
from dtrak_stream.exchange.feature_array import open_feature_array
from dtrak_stream.exchange.options import ArrayOptions
from dtrak_stream.training.batches import positions_to_train_on

READERS = {
    "subset": lambda path: positions_to_train_on(9, path),
    "classes": lambda path: read_strata(path, 9),
    "order": lambda path: open_feature_array(
        ArrayOptions((a_feature_array(path.parent / "array.npy"),), row_order=path)
    ),
}


def a_feature_array(path: Path) -> Path:
    np.save(path, np.ones((9, 2), np.float32))
    return path


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.arange(9))


def make_objects(path: Path) -> None:
    np.save(path, np.array([{}]), allow_pickle=True)


WRONG = {
    make_pipe: "is a named pipe",
    make_folder: "is a folder",
    make_archive: "cannot be read",
    make_objects: "cannot be read",
    Path.touch: "cannot be read",
    lambda _: None: "does not exist",
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("make", WRONG)
def test_what_is_no_list_is_refused_by_its_path(tmp_path, read, make):
    make(tmp_path / "x.npy")
    with pytest.raises(InputError, match=rf"x\.npy: {WRONG[make]}"):
        read(tmp_path / "x.npy")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EMFILE])
def test_a_list_that_may_be_whole_is_not_called_wrong(tmp_path, monkeypatch, read, number):
    def fails(path: Path) -> object:
        raise OSError(number, os.strerror(number), str(path))

    np.save(tmp_path / "x.npy", np.arange(9))
    monkeypatch.setattr("dtrak_stream.data.npy_files.open_regular", fails)
    with pytest.raises(UnavailableError, match=r"x\.npy"):
        read(tmp_path / "x.npy")


def test_values_come_back_as_they_were_saved(tmp_path):
    np.save(tmp_path / "x.npy", np.array(["b", "a"]))
    assert read_npy(tmp_path / "x.npy", holds="words").tolist() == ["b", "a"]
