"""What keeps a file from being read is told from damage, and nobody is advised to remove it."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dtrak_stream.data.arrays import ArraySource
from dtrak_stream.data.dataset_source import DatasetSource
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source import open_regular
from dtrak_stream.data.trajectories import Trajectory, TrajectoryFolder, image_hash
from dtrak_stream.errors import BadImageError, CorruptFileError, UnavailableError
from dtrak_stream.gram.file import Gram
from dtrak_stream.model.config_files import read_config
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.obstacles import errno_of, refuse_unavailable
from dtrak_stream.training.configuration import TrainingConfig
from tests.scoring.conftest import Attribution, attribution_of, whole_numbers
from tests.small_jobs import random_pixels, save_images

LOCKED = "unable to lock file, errno = {}, error message = 'x'"
OBSTACLES = {
    errno.EAGAIN: "is locked",
    errno.EACCES: "permission denied",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.EIO: "input/output error",
    errno.ESTALE: "stale file handle",
    errno.ETIMEDOUT: "does not answer",
    errno.ENOMEM: "no memory is left",
}


@pytest.mark.parametrize("number", OBSTACLES)
@pytest.mark.parametrize("from_hdf5", [False, True])
def test_what_the_system_would_not_do_is_told(number, from_hdf5):
    text = f"Can't read data (file read failed: errno = {number}, error message = 'x')"
    error = OSError(text) if from_hdf5 else OSError(number, "x")
    with pytest.raises(UnavailableError, match=f"^file: .*{OBSTACLES[number]}") as refused:
        refuse_unavailable("file", error)
    assert "remove" not in refused.value.remedy
    assert errno_of(error) == number


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES, errno.ENOLCK, errno.ENOSYS])
def test_what_cannot_be_locked_is_told_with_the_variable_of_hdf5(number):
    with pytest.raises(UnavailableError, match="lock") as refused:
        refuse_unavailable("file", OSError(LOCKED.format(number)))
    assert "HDF5_USE_FILE_LOCKING=FALSE" in refused.value.remedy


@pytest.mark.parametrize(
    "error",
    [
        OSError("truncated file: eof = 96, stored_eof = 2048"),
        OSError(errno.EINVAL, "x"),
        KeyError("gram"),
        RuntimeError("Unable to get group info"),
    ],
)
def test_what_may_be_damage_is_left_to_the_caller(error):
    refuse_unavailable("file", error)


@pytest.fixture
def run(tmp_path) -> Attribution:
    made = attribution_of(tmp_path, whole_numbers(24, 64), whole_numbers(5, 64, 1))
    made.score()
    return made


def shard(run: Attribution) -> Path:
    return run.train.layout.shard_path(0)


READERS: list[tuple[Callable[[Attribution], Path], Callable[[Path], object]]] = [
    (lambda run: run.gram, Gram.open),
    (lambda run: run.out, ScoresFile),
    (shard, lambda path: FeatureStore.open(path.parents[1]).usable()),
    (shard, lambda path: FeatureStore.open(path.parents[1]).ids[0:1]),
]


@pytest.mark.parametrize(("file", "read"), READERS)
def test_a_file_that_is_locked_is_not_called_damaged(run, file, read):
    path = file(run)
    with path.open("rb+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="is locked: another program"):
            read(path)
    read(path)


def test_scores_that_are_locked_are_not_replaced(run):
    before = run.out.read_bytes()
    with run.out.open("rb+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="is locked"):
            run.score(damping="0.7")
    assert run.out.read_bytes() == before


def test_a_truncated_gram_matrix_is_still_damaged(run):
    os.truncate(run.gram, run.gram.stat().st_size // 2)
    with pytest.raises(CorruptFileError, match="move it away"):
        Gram.open(run.gram)


def two_images(folder: Path) -> Images:
    save_images(folder / "images", random_pixels(2))
    return open_images(str(folder / "images"), None, ImageOptions())


def fail_with(number: int) -> Callable[..., object]:
    """Return what opens no file, and says this number."""

    def fails(path: object, *_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number), str(path))

    return fails


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_images_out_of_reach_are_not_hashed_as_bad_ones(tmp_path, monkeypatch, number):
    images = two_images(tmp_path)
    monkeypatch.setattr("dtrak_stream.data.source.open_regular", fail_with(number))
    with pytest.raises(UnavailableError, match=r"000\.png"):
        images.identity()


def test_rows_out_of_reach_are_not_hashed_as_bad_ones():
    class Failing:
        shape, dtype = (2, 4, 4, 1), np.dtype(np.uint8)

        def __getitem__(self, rows: int | slice) -> NDArray[Any]:
            raise OSError("Can't read data (file read failed: errno = 5, error message = 'x')")

    with pytest.raises(UnavailableError, match=r"a\.h5:x \[0\]: .*input/output error"):
        list(ArraySource(Failing(), where="a.h5:x").contents(0, 2))


def test_files_that_rows_name_are_not_hashed_as_bad_ones_when_out_of_reach(tmp_path, monkeypatch):
    two_images(tmp_path)
    named = [{"bytes": None, "path": str(path)} for path in (tmp_path / "images").iterdir()]
    rows = datasets.Dataset.from_dict(
        {"image": named}, features=datasets.Features({"image": datasets.Image()})
    )
    source = DatasetSource(rows, ImageOptions(), where="rows")
    monkeypatch.setattr("dtrak_stream.data.dataset_source.open_regular", fail_with(errno.ESTALE))
    with pytest.raises(UnavailableError, match="stale file handle"):
        list(source.contents(0, 2))


def test_a_path_out_of_reach_is_not_called_damaged(tmp_path, monkeypatch):
    folder, image = TrajectoryFolder(tmp_path), torch.zeros(1, 2, 2)
    made = np.zeros((1, 1, 2, 2), np.float32)
    folder.save(0, Trajectory(np.array([9]), made, made, image_hash(image)))
    monkeypatch.setattr("dtrak_stream.data.trajectories.open_regular", fail_with(errno.EIO))
    with pytest.raises(UnavailableError, match=r"00000\.npz"):
        folder.predictions("00000.png", image)
    with pytest.raises(UnavailableError, match=r"00000\.npz"):
        folder.timesteps()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EIO, errno.EMFILE])
def test_a_description_of_a_model_out_of_reach_is_not_called_damaged(tmp_path, monkeypatch, number):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(Path, "read_text", fail_with(number))
    with pytest.raises(UnavailableError, match=OBSTACLES.get(number)):
        read_config(tmp_path / "config.json", what="network")
    with pytest.raises(UnavailableError, match=OBSTACLES.get(number)):
        parse(TrainingConfig, ["--config", str(tmp_path / "config.json")])


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_images_out_of_reach_end_the_run_instead_of_being_bad(tmp_path, monkeypatch, number):
    images = open_images(
        str(save_images(tmp_path / "images", random_pixels(2))), None, ImageOptions()
    )

    def fails(path: Path) -> object:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("dtrak_stream.data.folder.open_regular", fails)
    with pytest.raises(UnavailableError, match=r"000\.png"):
        images.image(0)


def test_a_disk_that_fails_in_the_middle_of_an_image_is_not_the_image(tmp_path, monkeypatch):
    images = open_images(
        str(save_images(tmp_path / "images", random_pixels(2))), None, ImageOptions()
    )

    class Failing:
        def __init__(self, path: Path) -> None:
            self._file = open_regular(path)

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

        def read(self, count: int = -1) -> bytes:
            if self._file.tell() > 40:
                raise OSError(errno.EIO, "input/output error")
            return self._file.read(count)

    monkeypatch.setattr("dtrak_stream.data.folder.open_regular", Failing)
    with pytest.raises(UnavailableError, match="input/output error"):
        images.image(0)


def test_an_image_without_the_right_to_read_it_says_so(tmp_path, monkeypatch):
    images = open_images(
        str(save_images(tmp_path / "images", random_pixels(2))), None, ImageOptions()
    )

    def fails(path: Path) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("dtrak_stream.data.folder.open_regular", fails)
    with pytest.raises(BadImageError, match="permission denied"):
        images.image(0)


def test_a_process_without_handles_left_is_told_so(run):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(UnavailableError, match="too many files are open"):
            Gram.open(run.gram)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with h5py.File(run.gram) as file:
        assert np.isfinite(file["gram"][:]).all()
