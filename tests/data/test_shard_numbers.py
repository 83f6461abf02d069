"""Shards whose names say how many there are: all of them, or refused."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.places import locate
from dtrak_stream.errors import InputError


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def meant(spec: object, split: str | None = None) -> list[str]:
    return [path.name for path in locate(str(spec)).of(split).paths]


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ("data/train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
        ("train-00001-of-00002.tar", "train-00000-of-00002.tar"),
        ("data/train-00001-of-00002-a09b74b3ef9c3b56.parquet", "train-00000-of-00002-*.parquet"),
        ("part_2_of_2.parquet", "part_1_of_2.parquet"),
        ("000_of_002.tar", "001_of_002.tar"),
    ],
)
def test_a_shard_that_is_not_there_is_named(tmp_path, there, missing):
    with pytest.raises(InputError, match="lacks 1 of 2 files") as refusal:
        meant(touched(tmp_path, there))
    assert f"({missing})" in str(refusal.value)


def test_of_many_missing_shards_the_first_are_named(tmp_path):
    touched(tmp_path, "a-00003-of-99999.parquet")
    with pytest.raises(InputError, match=r"lacks 99,998 of 99,999 files \(a-00000.*02-of.*, \.\."):
        meant(tmp_path)


def test_shards_that_are_all_there_are_read(tmp_path):
    names = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert meant(touched(tmp_path / "from_0", *names)) == names
    names = ["part-1-of-2.tar", "part-2-of-2.tar"]
    assert meant(touched(tmp_path / "from_1", *names)) == names
    assert meant(touched(tmp_path / "no_set", "9-of-9999999999.tar")) == ["9-of-9999999999.tar"]


def test_shards_of_another_split_may_be_missing(tmp_path):
    touched(tmp_path, "train-00000-of-00001.parquet", "test-00000-of-00002.parquet")
    assert meant(tmp_path, "train") == ["train-00000-of-00001.parquet"]
    for split in ("test", "all"):
        with pytest.raises(InputError, match="test-00001-of-00002"):
            meant(tmp_path, split)


def test_what_a_pattern_leaves_out_is_not_missing(tmp_path, monkeypatch):
    touched(tmp_path, "train-00000-of-00003.parquet", "train-00001-of-00003.parquet")
    assert len(meant(tmp_path / "train-0000[01]-of-00003.parquet")) == 2
    assert len(meant(tmp_path / "train-00000-of-00003.parquet")) == 1
    with pytest.raises(InputError, match=r"lacks 1 of 3 files \(train-00002"):
        meant(tmp_path / "train-*.parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="lacks 1 of 3 files"):
        meant("./*.parquet")


@pytest.mark.parametrize(
    "other", ["train-00000-of-00003.parquet", "train-00000-of-00001-abc.parquet"]
)
def test_two_versions_of_a_set_are_not_joined(tmp_path, other):
    touched(tmp_path, "train-00000-of-00001.parquet", other)
    with pytest.raises(InputError, match="two versions of a data set"):
        meant(tmp_path)


def test_a_saved_data_set_without_one_of_its_files_is_refused(tmp_path, encoded):
    folder = tmp_path / "saved"
    encoded.save_to_disk(str(folder), num_shards=2)
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match="does not exist") as refusal:
        open_source(str(folder), ImageOptions(), visible=False)
    assert "data-00001-of-00002.arrow" in str(refusal.value)


@pytest.fixture
def encoded() -> datasets.Dataset:
    cells = [{"bytes": b"", "path": None}] * 2
    return datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
