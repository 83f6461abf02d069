"""Splits of a zip archive are those of the folder that was packed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source import Source
from dtrak_stream.errors import InputError
from tests.small_jobs import random_pixels, save_images


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def opened(path: Path, split: str | None = None) -> Source:
    return open_source(str(path), ImageOptions(split=split), visible=False)


def seen(path: Path, split: str | None) -> object:
    try:
        source = opened(path, split)
    except InputError as refusal:
        return refusal.what
    return source.sample_ids(0, len(source)), source.remarks()


LAYOUTS = [
    ("train", "test"),
    ("set/train", "set/Test"),
    ("a/b/train/x", "a/b/val", "a/b/test"),
    ("train", "training", "Train", "test"),
    ("train",),
    ("x/train", "y/test"),
    ("cat", "dog"),
    ("train", "test", "more"),
    (".", "train"),
    ("one", "one/train"),
]


@pytest.mark.parametrize("split", [None, "train", "validation", "test", "all"])
@pytest.mark.parametrize("folders", LAYOUTS, ids=",".join)
def test_an_archive_has_the_splits_of_the_folder(tmp_path, folders, split):
    folder = tmp_path / "packed"
    for number, name in enumerate(folders):
        save_images(folder / name, random_pixels(2 + number))
        (folder / name / "notes.md").write_text("x")
    assert seen(packed(folder), split) == seen(folder, split)


def test_of_several_splits_one_is_to_be_chosen(tmp_path):
    for split in ("train", "test"):
        save_images(tmp_path / "set" / split, random_pixels(1))
    with pytest.raises(InputError, match=r"several splits \(test, train\)"):
        opened(packed(tmp_path / "set"))
    assert opened(packed(tmp_path / "set"), "train").sample_ids(0, 1) == ["train/000.png"]


@pytest.mark.parametrize("place", [".", "train"])
def test_metadata_above_a_split_are_of_its_images(tmp_path, place):
    folder = tmp_path / "set"
    for split in ("train", "test"):
        save_images(folder / split, random_pixels(1))
        (folder / split / "000.txt").write_text(f"text of {split}")
    names = ("train/000.png", "test/000.png") if place == "." else ("000.png", "000.txt")
    rows = [{"file_name": name, "style": name} for name in names]
    (folder / place / "metadata.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    (folder / "test" / "metadata.csv").write_text("file_name,other\n000.png,x\n")
    ours, theirs = opened(packed(folder), "train"), opened(folder, "train")
    assert ours.columns() == theirs.columns()
    assert ours.columns().keys() == {"folder", ".txt", "style"}
    for column in ours.columns():
        assert ours.column(column, 0, 1) == theirs.column(column, 0, 1)
