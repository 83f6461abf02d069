"""A zip archive of images as a source."""

from __future__ import annotations

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.zip_files import ZipSource
from dtrak_stream.errors import BadImageError, InputError


def opened(spec: object) -> Images:
    return open_images(str(spec), visible=False)


def ids(spec: object) -> list[str]:
    images = opened(spec)
    return images.sample_ids(0, len(images))


@pytest.fixture
def packed(tmp_path: Path, folder: Path) -> Path:
    """The images of the folder in an archive, the last ones first, some of them compressed."""
    (folder / "deeper").mkdir()
    (folder / "1.png").rename(folder / "deeper" / "1.png")
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
            method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)[number % 3]
            archive.write(file, file.relative_to(folder).as_posix(), method)
    return path


def with_changed_directory(path: Path, offset: int, value: bytes) -> None:
    """Change the entry of the last member in the archive's directory."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    content[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(content)


def test_an_archive_is_to_the_byte_what_the_folder_was(packed, folder):
    ours, theirs = opened(packed), opened(folder)
    assert ids(packed) == ids(folder)
    assert ours.identity() == theirs.identity()
    for index in range(len(theirs)):
        assert np.array_equal(ours.image(index), theirs.image(index))
    assert opened(f"{packed}[3:5]").sample_ids(0, 2) == ids(folder)[3:5]


def test_members_that_are_no_images_are_passed_over_and_told(packed):
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("readme.md", "x")
        archive.writestr("readme.txt", "x")
        archive.writestr("__MACOSX/._0.png", "x")
        archive.writestr("a/.hidden.png", "x")
        archive.mkdir("empty.png")
    assert len(opened(packed)) == 12
    assert ZipSource(packed).remarks() == [
        "1 file is passed over (1 .md): rename or convert what is an image"
    ]


def test_folders_in_an_archive_are_a_column(packed):
    source = ZipSource(packed)
    assert set(source.column("folder", 0, len(source))) == {".", "deeper"}
    with pytest.raises(InputError, match="no such column"):
        source.column("label", 0, 1)


def test_several_threads_read_what_one_reads(packed):
    source = ZipSource(packed)
    alone = [source.pixels(index) for index in range(len(source))]
    start = threading.Barrier(4)

    def read(index: int) -> bool:
        start.wait()
        return all(
            np.array_equal(source.pixels((index + shift) % 12), alone[(index + shift) % 12])
            for shift in range(60)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))


def test_a_damaged_member_spoils_its_image_alone(packed, folder):
    content = bytearray(packed.read_bytes())
    place = content.index((folder / "6.png").read_bytes()[:60])
    content[place + 50] ^= 1
    packed.write_bytes(content)
    images = opened(packed)
    bad = images.sample_ids(0, 12).index("6.png")
    with pytest.raises(BadImageError, match=r"cannot be unpacked \(Bad CRC-32"):
        images.image(bad)
    assert images.image(bad - 1).shape == (3, 6, 8)
    assert images.identity() != opened(folder).identity()


def test_a_member_that_claims_to_be_immense_is_not_unpacked(packed):
    with_changed_directory(packed, 24, (2**31).to_bytes(4, "little"))
    with pytest.raises(BadImageError, match="2,147,483,648 bytes long"):
        opened(packed).image(0)


@pytest.mark.parametrize(
    ("offset", "value", "problem"),
    [(8, b"\1\0", r"encrypted \(0\.png\)"), (10, b"\x09\0", "0.png is packed by method 9")],
)
def test_what_cannot_be_unpacked_is_refused_by_name(packed, offset, value, problem):
    with_changed_directory(packed, offset, value)
    with pytest.raises(InputError, match=problem):
        ZipSource(packed)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(packed):
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("7.png", b"x")
    with pytest.raises(InputError, match=r"two files called 7\.png"):
        ZipSource(packed)


def test_what_is_no_archive_or_holds_no_images_is_refused(tmp_path, packed):
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(InputError, match="truncated or corrupt"):
        ZipSource(packed)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.md", "x")
    with pytest.raises(InputError, match=r"holds no images; 1 file is passed over"):
        ZipSource(tmp_path / "b.zip")
    with pytest.raises(InputError, match="does not exist"):
        opened(tmp_path / "c.zip")
