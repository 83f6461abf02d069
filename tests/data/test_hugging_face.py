"""Data sets of the Hugging Face library as a source."""

import io
import logging
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import BadImageError, InputError


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def made(column: list, **others: list) -> datasets.Dataset:
    rows = datasets.Dataset.from_dict({"image": column, **others})
    return rows.cast_column("image", datasets.Image())


def cells(contents: list[bytes]) -> list[dict]:
    return [{"bytes": content, "path": None} for content in contents]


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def opened(spec: object, **options):
    return open_images(str(spec), options=ImageOptions(**options), visible=False)


@pytest.fixture
def encoded(pixels) -> list[bytes]:
    return [png(image) for image in pixels]


def test_bad_rows_are_quarantined_with_their_reason(tmp_path, encoded):
    contents = cells([encoded[0], b"corrupt", b"", encoded[3][:100], encoded[4]])
    (tmp_path / "gone.png").write_bytes(encoded[5])
    contents.append({"bytes": None, "path": str(tmp_path / "gone.png")})
    contents.append({"bytes": None, "path": None})
    made(contents).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "gone.png").unlink()
    images = opened(tmp_path / "a.parquet")
    reasons = {1: "not an image", 2: "empty", 3: "cannot be decoded", 5: "no such file", 6: "no im"}
    for index, reason in reasons.items():
        with pytest.raises(BadImageError, match=reason):
            images.image(index)
    assert images.image(4).shape == (3, 6, 8)
    assert len(images.identity()) == 32


def test_opening_decodes_only_the_first_row(tmp_path, encoded, decodes):
    made(cells([encoded[0], *[b"corrupt"] * 20])).to_parquet(tmp_path / "a.parquet")
    images = opened(tmp_path / "a.parquet")
    assert len(images) == 21
    images.identity()
    assert len(decodes) == 1


def test_split_is_chosen_and_a_missing_one_named(tmp_path, encoded):
    parts = {"train": made(cells(encoded[:5])), "test": made(cells(encoded[5:]))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    assert len(opened(tmp_path / "saved", split="train")) == 5
    assert len(opened(tmp_path / "saved", split="test")) == 7
    assert len(opened(tmp_path / "saved", split="all")) == 12
    with pytest.raises(InputError, match=r"it has several splits \(train, test\); choose one"):
        opened(tmp_path / "saved")
    with pytest.raises(InputError, match="no split 'valid'; it has train, test"):
        opened(tmp_path / "saved", split="valid")


def test_image_column_is_chosen(tmp_path, encoded):
    rows = made(cells(encoded[:2]), mask=cells(encoded[2:4]), label=[0, 1])
    rows.cast_column("mask", datasets.Image()).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"several image columns \(image, mask\)"):
        opened(tmp_path / "saved")
    with pytest.raises(InputError, match="no column 'photo'; it has image, mask, label"):
        opened(tmp_path / "saved", image_column="photo")
    with pytest.raises(InputError, match="'label' does not hold encoded images"):
        opened(tmp_path / "saved", image_column="label")
    first, second = (opened(tmp_path / "saved", image_column=name) for name in ("image", "mask"))
    assert not first.image(0).equal(second.image(0))
    assert first.identity() != second.identity()


def test_data_set_without_images_is_refused(tmp_path):
    datasets.Dataset.from_dict({"label": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no image column; it has label"):
        opened(tmp_path / "a.parquet")


def test_column_of_plain_bytes_is_read_when_named(tmp_path, encoded):
    datasets.Dataset.from_dict({"png": encoded}).to_parquet(tmp_path / "a.parquet")
    assert len(opened(tmp_path / "a.parquet", image_column="png")) == 12


def test_format_saved_with_a_data_set_is_set_aside(tmp_path, encoded):
    made(cells(encoded)).with_format("pandas").save_to_disk(tmp_path / "saved")
    assert opened(tmp_path / "saved").image(3).shape == (3, 6, 8)


def test_webdataset_keys_are_the_sample_ids(tmp_path, encoded):
    members: dict[str, bytes] = {}
    for index, content in enumerate(encoded):
        members |= {f"face-{index:02}.png": content, f"face-{index:02}.cls": b"7"}
    write_tar(tmp_path / "a.tar", members)
    images = opened(tmp_path / "a.tar[10:]")
    assert images.sample_ids(0, 2) == ["face-10", "face-11"]


def test_keys_that_repeat_give_way_to_row_numbers(tmp_path, encoded):
    for name, content in zip(("a-1.tar", "a-2.tar"), encoded, strict=False):
        write_tar(tmp_path / name, {"000.png": content})
    images = opened(tmp_path / "*.tar")
    assert images.sample_ids(0, 2) == ["0", "1"]


def test_shards_of_a_folder_come_in_natural_order(tmp_path, encoded):
    for number in (10, 2, 1):
        write_tar(tmp_path / f"{number}.tar", {f"key{number}.png": encoded[number]})
    for spec in (tmp_path, tmp_path / "*.tar", tmp_path / "[0-9]*.tar"):
        assert opened(spec).sample_ids(0, 3) == ["key1", "key2", "key10"]


@pytest.mark.parametrize("name", ["part[12].tar", "part?.tar", "pa*.tar", "part [x].tar"])
def test_file_whose_name_looks_like_a_pattern_is_taken_by_its_name(tmp_path, encoded, name):
    write_tar(tmp_path / name, {"right.png": encoded[0]})
    write_tar(tmp_path / "part1.tar", {"wrong.png": encoded[1]})
    images = opened(tmp_path / name)
    assert images.sample_ids(0, len(images)) == ["right"]


def test_parquet_shards_are_joined(tmp_path, encoded):
    for number, rows in ((2, encoded[5:]), (1, encoded[:5])):
        made(cells(rows)).to_parquet(tmp_path / f"part-{number}.parquet")
    made(cells(encoded)).to_parquet(tmp_path / "whole" / "all.parquet")
    joined, whole = opened(tmp_path / "part-*.parquet"), opened(tmp_path / "whole")
    assert joined.identity() == whole.identity()


def test_shards_of_two_kinds_are_refused(tmp_path, encoded):
    made(cells(encoded)).to_parquet(tmp_path / "a.parquet")
    write_tar(tmp_path / "a.tar", {"1.png": encoded[0]})
    with pytest.raises(InputError, match=r"\.parquet, \.tar"):
        opened(tmp_path)


def test_folder_of_images_and_archives_is_ambiguous(folder, encoded):
    write_tar(folder / "a.tar", {"1.png": encoded[0]})
    with pytest.raises(InputError, match="image files as well as"):
        opened(folder)


@pytest.mark.parametrize("suffix", ["tar", "parquet"])
@pytest.mark.parametrize("content", [b"", b"this is neither a tar nor a parquet file" * 50])
def test_corrupt_archive_is_refused(tmp_path, suffix, content):
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read|not a data set"):
        opened(tmp_path / f"a.{suffix}")


def test_corrupt_saved_data_set_is_refused(tmp_path, encoded):
    made(cells(encoded)).save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:50])
    with pytest.raises(InputError, match="not a data set that can be read"):
        opened(tmp_path / "saved")


def test_data_set_without_rows_is_refused(tmp_path):
    made([]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"no data.*it may be empty"):
        opened(tmp_path / "a.parquet")


def test_hub_that_cannot_be_reached_is_said():
    with pytest.raises(InputError, match=r"hf:nobody/nothing: cannot be had from the hub"):
        opened("hf:nobody/nothing")


def test_hub_is_asked_for_the_name_and_split(monkeypatch, encoded):
    asked = []

    def load_dataset(name, *, split):
        asked.append((name, split))
        return made(cells(encoded))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(opened("hf:somebody/faces[2:]", split="test")) == 10
    assert asked == [("somebody/faces", "test")]


def test_the_only_split_of_the_hub_need_not_be_chosen(monkeypatch, encoded):
    several = datasets.DatasetDict(train=made(cells(encoded)), test=made(cells(encoded[:2])))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **_options: several)
    with pytest.raises(InputError, match=r"hf:a/b: it has several splits \(train, test\)"):
        opened("hf:a/b")
    del several["train"]
    assert len(opened("hf:a/b")) == 2


def test_a_saved_split_is_not_taken_for_another(tmp_path, encoded):
    made(cells(encoded)).to_parquet(tmp_path / "a.parquet")
    files = {"test": str(tmp_path / "a.parquet")}
    datasets.load_dataset("parquet", data_files=files, split="test").save_to_disk(tmp_path / "s")
    assert len(opened(tmp_path / "s")) == len(opened(tmp_path / "s", split="test")) == 12
    with pytest.raises(InputError, match="no split 'train'; it has test"):
        opened(tmp_path / "s", split="train")


def test_progress_bars_of_datasets_are_left_as_they_were(tmp_path, encoded):
    made(cells(encoded)).to_parquet(tmp_path / "a.parquet")
    assert not datasets.are_progress_bars_disabled()
    opened(tmp_path / "a.parquet")
    assert not datasets.are_progress_bars_disabled()


def test_the_library_says_nothing_of_what_it_refuses(tmp_path, capfd, caplog):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(InputError):
        open_images(str(tmp_path / "a.parquet"), visible=False)
    assert "Failed to read" not in caplog.text + "".join(capfd.readouterr())
    assert logging.getLogger("datasets.packaged_modules").level == logging.NOTSET


@pytest.mark.parametrize("name", ["a.parquet", "a.tar", "a.npy", "a.npz", "a.h5", "a.zip"])
def test_a_pointer_of_git_lfs_in_place_of_a_file_is_called_one(tmp_path, name):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(InputError, match=r"is a pointer of Git LFS .*git lfs pull"):
        open_images(str(tmp_path / name), visible=False)
