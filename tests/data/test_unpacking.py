"""What datasets unpacks into its cache: never of another state of a file, and told if it fails."""

from __future__ import annotations

import errno
import io
import os
import re
from pathlib import Path

import datasets
import pytest
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.unpacking import folder_for
from dtrak_stream.errors import DiskFullError, InputError, UnavailableError
from dtrak_stream.support.stamps import Stamp


def write(path: Path, shades: tuple[int, ...]) -> None:
    """Write images of plain bytes that take the same room whatever their shades."""
    images = []
    for shade in shades:
        file = io.BytesIO()
        Image.new("L", (4, 4), shade).save(file, "bmp")
        images.append(file.getvalue())
    datasets.Dataset.from_dict({"image": images}).to_parquet(path)


def shades(path: Path) -> list[int]:
    images = open_images(str(path), options=ImageOptions(image_column="image"), visible=False)
    found = [images.image(index)[0, 0, 0].item() for index in range(len(images))]
    return [round((each + 1) * 127.5) for each in found]


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    write(tmp_path / "a.parquet", (1, 2))
    return tmp_path / "a.parquet"


def test_other_content_of_the_same_size_and_time_is_read_anew(parquet):
    assert shades(parquet) == [1, 2]
    before = parquet.stat()
    write(parquet, (3, 4))
    os.utime(parquet, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = parquet.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert shades(parquet) == [3, 4]


def test_a_file_that_did_not_change_is_unpacked_once(parquet):
    first = folder_for([parquet])
    shades(parquet)
    made = sorted(first.rglob("*.arrow"))
    assert made
    before = made[0].stat().st_mtime_ns
    assert shades(parquet) == [1, 2]
    assert folder_for([parquet]) == first
    assert made[0].stat().st_mtime_ns == before


def test_files_whose_times_cannot_be_relied_on_go_by_their_contents(parquet, monkeypatch):
    monkeypatch.setattr(Stamp, "settle", lambda _self: False)
    first = folder_for([parquet])
    assert folder_for([parquet]) == first
    parquet.write_bytes(parquet.read_bytes() + b"x")
    assert folder_for([parquet]) != first


def test_a_cache_that_cannot_be_written_is_told_as_that(as_nobody, monkeypatch):
    write(as_nobody / "a.parquet", (1, 2))
    (as_nobody / "cache").mkdir()
    (as_nobody / "cache").chmod(0o555)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", as_nobody / "cache")
    with pytest.raises(InputError, match=r"cache.* cannot be written \(perm.*HF_DATASETS_CACHE"):
        shades(as_nobody / "a.parquet")
    with pytest.raises(InputError, match=r"cache.* cannot be written \(perm.*HF_DATASETS_CACHE"):
        open_images("hf:a/b", visible=False)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise RuntimeError("An error occurred while generating the dataset") from error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


@pytest.mark.parametrize("spec", ["parquet", "hub"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_that(parquet, monkeypatch, spec, number):
    failing(monkeypatch, OSError(number, os.strerror(number)))
    with pytest.raises(DiskFullError, match="HF_DATASETS_CACHE to a folder on a larger disk"):
        open_images("hf:a/b" if spec == "hub" else str(parquet), visible=False)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOLCK, errno.EMFILE])
def test_what_the_system_refuses_is_not_called_damage(parquet, monkeypatch, number):
    failing(monkeypatch, OSError(number, os.strerror(number), str(parquet)))
    with pytest.raises((InputError, UnavailableError), match=re.escape(str(parquet))) as refusal:
        shades(parquet)
    assert re.search(
        f"{os.strerror(number)}|too many files are open", str(refusal.value), re.IGNORECASE
    )
    assert "corrupt" not in str(refusal.value)


def test_a_data_set_that_is_a_program_is_told_as_that(monkeypatch):
    def load_dataset(*_: object, **__: object) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found faces.py")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=r"hf:a/b: is made by a program.*faces\.py.*in parquet"):
        open_images("hf:a/b", visible=False)
