"""Tar files of images: what lies beside the images does not decide whether they are read."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.labels import open_labels
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import InputError


def encoded(shade: int, kind: str = "png") -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), shade).save(file, kind)
    return file.getvalue()


def write(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def opened(path: Path, **options: str) -> Images:
    return open_images(str(path), options=ImageOptions(**options), visible=False)  # type: ignore[arg-type]


def shades(images: Images) -> list[int]:
    found = [images.image(row)[0, 0, 0].item() for row in range(len(images))]
    return [round((each + 1) * 127.5) for each in found]


def labels(path: Path, column: str) -> list[str | None]:
    found = open_labels(str(path), column, ImageOptions(), visible=False)
    return found.labels(0, len(found))


def test_entries_that_change_type_do_not_matter(tmp_path):
    values = [{"a": 1}, {"a": "x"}, {"a": [1]}, [], "text", {"b": None}, {"a": 2}]
    members = []
    for row, value in enumerate(values):
        members += [(f"{row}.png", encoded(row)), (f"{row}.json", json.dumps(value).encode())]
    images = opened(write(tmp_path / "a.tar", members))
    assert shades(images) == list(range(len(values)))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_what_cannot_be_decoded_beside_an_image_does_not_matter(tmp_path, content):
    members = [(f"1.{kind}", content) for kind in ("json", "npy", "txt", "mp3", "mp4", "pyd")]
    images = opened(write(tmp_path / "a.tar", [("1.png", encoded(7)), *members]))
    assert shades(images) == [7]


def test_samples_with_more_or_less_beside_them_are_read(tmp_path):
    members = [("0.png", encoded(0)), ("1.png", encoded(1)), ("1.txt", b"a cat")]
    members += [("2.cls", b"3"), ("2.png", encoded(2))]
    path = write(tmp_path / "a.tar", members)
    assert shades(opened(path)) == [0, 1, 2]
    assert labels(path, "txt") == [None, "a cat", None]
    assert labels(path, "cls") == [None, None, "3"]


def test_images_of_several_endings_are_one_column(tmp_path):
    members = [("0.PNG", encoded(0)), ("1.bmp", encoded(1, "bmp")), ("2.png", encoded(2))]
    images = opened(write(tmp_path / "a.tar", members))
    assert shades(images) == [0, 1, 2]
    assert images.sample_ids(0, 3) == ["0", "1", "2"]


def test_samples_with_two_images_need_a_column(tmp_path):
    members = [("0.png", encoded(0)), ("0.seg.png", encoded(10)), ("1.png", encoded(1))]
    path = write(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=r"several image columns \(png, seg\.png\)"):
        opened(path)
    assert shades(opened(path, image_column="png")) == [0, 1]


def test_members_of_a_sample_that_are_apart_are_told(tmp_path, capsys):
    members = [("0.png", encoded(0)), ("1.png", encoded(1)), ("0.txt", b"a"), ("1.txt", b"b")]
    images = opened(write(tmp_path / "a.tar", [*members, ("README", b"")]))
    assert shades(images) == [0, 1]
    told = "3 files are passed over (2 .txt, 1 without an ending)"
    assert told in capsys.readouterr().err


def test_members_that_are_no_files_are_left_alone(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        folder, link = tarfile.TarInfo("a.png"), tarfile.TarInfo("b.png")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        image = tarfile.TarInfo("a.png/1.png")
        image.size = len(encoded(5))
        archive.addfile(folder)
        archive.addfile(link)
        archive.addfile(image, io.BytesIO(encoded(5)))
    assert shades(opened(tmp_path / "a.tar")) == [5]


@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_file_that_is_cut_off_is_refused(tmp_path, keep):
    members = [(f"{row}.png", encoded(row)) for row in range(40)]
    path = write(tmp_path / "a.tar", members)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match="truncated or corrupt"):
        opened(path)


def test_a_file_that_is_damaged_in_the_middle_is_refused(tmp_path):
    path = write(tmp_path / "a.tar", [(f"{row}.png", encoded(row)) for row in range(40)])
    content = bytearray(path.read_bytes())
    content[20 * 1024 : 20 * 1024 + 512] = np.random.default_rng(0).bytes(512)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cut off or damaged"):
        opened(path)


def test_a_file_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no image column"):
        opened(write(tmp_path / "a.tar", [("1.txt", b"a"), ("2.heic", b"b")]))


def test_links_are_passed_over_and_counted(tmp_path):
    path = write(tmp_path / "a.tar", [("a.png", encoded(1))])
    with tarfile.open(path, "a") as archive:
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "a.png")):
            member = tarfile.TarInfo(f"{kind!r}.png")
            member.type, member.linkname = kind, target
            archive.addfile(member)
    images = opened(path)
    assert shades(images) == [1]
    assert open_source(str(path), ImageOptions(), visible=False).remarks() == [
        "2 files are passed over (2 .link): rename or convert what is an image"
    ]


def test_a_caption_that_is_null_in_the_first_json_is_a_missing_one(tmp_path):
    members = [("a.png", encoded(1)), ("a.json", b'{"caption": null, "status": "success"}')]
    members += [("b.png", encoded(2)), ("b.json", b'{"caption": "b", "status": "success"}')]
    path = write(tmp_path / "a.tar", members)
    options = ConditionOptions(missing_captions="none")
    images = open_images(str(path), conditioned_on="caption", conditions=options, visible=False)
    assert images.conditions(0, 2) == ["none", "b"]
