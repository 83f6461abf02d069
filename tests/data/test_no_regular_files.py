"""What lies under a file's name and is no file: it is told as that, and never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import BadImageError, InputError

pytestmark = pytest.mark.timeout(60)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    # the name of a socket has room for 100 bytes, and a temporary folder's may be longer
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = pytest.mark.parametrize(
    ("make", "kind"),
    [(make_pipe, "a named pipe"), (make_socket, "a socket"), (link_to_a_device, "a device")],
)


@KINDS
def test_what_is_no_file_among_images_is_quarantined(folder, make, kind):
    (folder / "3.png").unlink()
    make(folder / "3.png")
    images = open_images(str(folder), visible=False)
    assert len(images) == 12
    with pytest.raises(BadImageError, match=f"{kind}, not a file"):
        images.image(3)
    assert images.image(4).shape == (3, 6, 8)
    assert len(images.identity()) == 32


@KINDS
@pytest.mark.parametrize("name", ["x.npy", "x.npz:images", "x.h5:images", "x.parquet", "x.tar"])
def test_what_is_no_file_is_refused_as_a_source(tmp_path, make, kind, name):
    make(tmp_path / name.removesuffix(":images"))
    with pytest.raises(InputError, match=f"is {kind}, not a file"):
        open_images(str(tmp_path / name), visible=False)


def test_a_row_that_names_a_pipe_is_quarantined(tmp_path, folder):
    os.mkfifo(tmp_path / "pipe.png")
    paths = [folder / "0.png", tmp_path / "pipe.png"]
    cells = [{"bytes": None, "path": str(path)} for path in paths]
    rows = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    rows.to_parquet(tmp_path / "a.parquet")
    images = open_images(str(tmp_path / "a.parquet"), visible=False)
    with pytest.raises(BadImageError, match="a named pipe, not a file"):
        images.image(1)


def test_a_folder_that_is_called_like_an_image_is_looked_into(tmp_path):
    (tmp_path / "x.png").mkdir()
    pixels = np.zeros((4, 4, 3), np.uint8)
    for name in ("x.png/1.png", "0.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    images = open_images(str(tmp_path), visible=False)
    assert images.sample_ids(0, len(images)) == ["0.png", "x.png/1.png"]
