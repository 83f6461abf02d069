"""What lies beside the images of a folder."""

from __future__ import annotations

import json

import pytest

from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import InputError
from tests.small_jobs import random_pixels, save_images


def opened(folder, **options):
    return open_source(str(folder), ImageOptions(**options), visible=False)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    save_images(folder, random_pixels(3))
    return folder


def test_texts_lie_beside_images_and_are_called_like_them(images):
    (images / "000.txt").write_text("\ufeffa café\n", encoding="utf-8")
    (images / "002.txt").write_text(" \n")
    (images / "notes.txt").write_text("of no image")
    source = opened(images)
    assert source.columns()[".txt"].told == "sidecar .txt files"
    assert source.column(".txt", 0, 3) == ["a café", None, ""]


def test_a_text_that_belongs_to_no_image_is_no_column(images):
    (images / "notes.txt").write_text("of no image")
    assert list(opened(images).columns()) == ["folder"]


def test_what_lies_beside_images_is_not_passed_over(images):
    (images / "000.txt").write_text("a")
    (images / "metadata.csv").write_text("file_name,text\n000.png,a\n")
    (images / "other.csv").write_text("x")
    assert opened(images).remarks() == [
        "1 file is passed over (1 .csv): rename or convert what is an image"
    ]


def test_texts_whose_ending_is_in_capitals_are_told_to_be_passed_over(images):
    (images / "000.TXT").write_text("a")
    source = opened(images)
    assert ".txt" not in source.columns()
    assert source.remarks() == [
        "1 file is passed over (1 .TXT): rename or convert what is an image"
    ]


def test_a_metadata_file_above_a_split_is_of_its_images(tmp_path):
    for split in ("train", "test"):
        save_images(tmp_path / "set" / split, random_pixels(1))
    rows = [{"file_name": f"{split}/000.png", "text": split} for split in ("train", "test")]
    path = tmp_path / "set" / "metadata.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    source = opened(tmp_path / "set", split="test")
    assert source.column("text", 0, 1) == ["test"]
    assert opened(tmp_path / "set", split="all").column("text", 0, 2) == ["test", "train"]


@pytest.mark.parametrize(
    ("content", "why"), [(b"\xff", "is not UTF-8"), (b"x" * (2**20 + 1), "which is no caption")]
)
def test_what_is_no_text_is_refused(images, content, why):
    (images / "001.txt").write_bytes(content)
    with pytest.raises(InputError, match=why):
        opened(images).column(".txt", 0, 3)


def test_folders_are_told_where_metadata_cannot_be_read(images):
    (images / "metadata.jsonl").write_text("nonsense")
    source = opened(images)
    assert source.column("folder", 0, 1) == ["."]
    with pytest.raises(InputError, match="is not JSON"):
        source.columns()
