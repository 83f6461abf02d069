"""Splits that names of files and folders tell: chosen, or refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions, with_effect
from dtrak_stream.data.source_stamp import stamp_source
from dtrak_stream.data.splits import by_split
from dtrak_stream.errors import InputError
from dtrak_stream.support.stamps import Stamp, Stamping

SHADES = {"train": (10, 11, 12), "test": (20, 21)}


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), shade).save(file, "png")
    return file.getvalue()


def write_parquet(path: Path, split: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": png(shade), "path": None} for shade in SHADES[split]]
    rows = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    rows.to_parquet(path)


def write_tar(path: Path, split: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for shade in SHADES[split]:
            content = png(shade)
            member = tarfile.TarInfo(f"{shade}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_images(folder: Path, split: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for shade in SHADES[split]:
        (folder / f"{shade}.png").write_bytes(png(shade))


def shades(spec: object, split: str | None = None) -> tuple[int, ...]:
    images = open_images(str(spec), options=ImageOptions(split=split), visible=False)
    found = [images.image(index)[0, 0, 0].item() for index in range(len(images))]
    return tuple(round((each + 1) * 127.5) for each in found)


def stamp(spec: object, split: str) -> Stamp:
    stamping = Stamping()
    stamp_source(str(spec), ImageOptions(split=split), stamping)
    return stamping.stamp()


LAYOUTS = {
    "parquet": ("{}-00000-of-00001.parquet", write_parquet),
    "parquet of a clone": ("data/{}-00000-of-00001.parquet", write_parquet),
    "parquet in folders": ("{}/0000.parquet", write_parquet),
    "parquet in folders of a clone": ("data/{}/0000.parquet", write_parquet),
    "tar": ("cats.{}.tar", write_tar),
    "images": ("{}", write_images),
    "images of a clone": ("data/{}", write_images),
}


@pytest.fixture(params=LAYOUTS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A source of each kind with three images for training and two for testing."""
    name, write = LAYOUTS[request.param]
    for split in SHADES:
        write(tmp_path / "source" / name.format(split), split)
    (tmp_path / "source" / "README.md").write_text("cats")
    return tmp_path / "source"


def test_the_split_is_taken_that_is_asked_for(source):
    assert shades(source, "train") == SHADES["train"]
    assert shades(source, "test") == SHADES["test"]
    assert sorted(shades(source, "all")) == sorted(SHADES["train"] + SHADES["test"])


def test_several_splits_of_which_none_is_chosen_are_refused(source):
    with pytest.raises(InputError, match=r"several splits \((train, test|test, train)\); choose"):
        shades(source)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(source):
    with pytest.raises(InputError, match=r"no split 'validation'; it has (train, test|test, tr)"):
        shades(source, "validation")


def test_a_change_in_another_split_does_not_show(source):
    before = {split: stamp(source, split) for split in SHADES}
    assert before["train"] != before["test"]
    (changed,) = (path for path in source.rglob("*test*") if path.suffix or path.is_dir())
    changed = next(changed.iterdir()) if changed.is_dir() else changed
    changed.write_bytes(changed.read_bytes() + b"x")
    assert stamp(source, "train") == before["train"]
    assert stamp(source, "test") != before["test"]


def test_names_of_images_stay_those_in_the_folder(tmp_path):
    for split in SHADES:
        write_images(tmp_path / split, split)
    images = open_images(str(tmp_path), options=ImageOptions(split="test"), visible=False)
    assert images.sample_ids(0, 2) == ["test/20.png", "test/21.png"]


@pytest.mark.parametrize("split", ["test", "Train", "anything"])
def test_a_split_of_what_tells_none_is_refused(tmp_path, split):
    write_images(tmp_path / "images", "train")
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4, 3), np.uint8))
    for spec in (tmp_path / "images", tmp_path / "a.npy", "sklearn:digits[:2]"):
        with pytest.raises(InputError, match=f"no split '{split}'; nothing in it tells splits"):
            shades(spec, split)


@pytest.mark.parametrize("split", [None, "train", "all"])
def test_what_tells_no_splits_is_all_for_training(tmp_path, split):
    write_images(tmp_path, "train")
    assert shades(tmp_path, split) == SHADES["train"]


def test_files_of_one_split_need_no_choice_and_are_no_other(tmp_path):
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "test")
    for spec in (tmp_path, tmp_path / "*.parquet", tmp_path / "test-00000-of-00001.parquet"):
        assert shades(spec) == shades(spec, "test") == SHADES["test"]
        with pytest.raises(InputError, match="no split 'train'; it has test"):
            shades(spec, "train")


def test_a_pattern_that_names_several_splits_is_as_the_folder(tmp_path):
    for split in SHADES:
        write_parquet(tmp_path / f"{split}.parquet", split)
    with pytest.raises(InputError, match="several splits"):
        shades(tmp_path / "*.parquet")
    assert shades(tmp_path / "*.parquet", "test") == SHADES["test"]
    assert shades(tmp_path / "t*n.parquet") == SHADES["train"]


def test_parquet_of_several_data_sets_is_refused(tmp_path):
    write_parquet(tmp_path / "cats" / "train.parquet", "train")
    write_parquet(tmp_path / "dogs" / "train.parquet", "test")
    with pytest.raises(InputError, match=r"in several folders \(cats, dogs\), which may be differ"):
        shades(tmp_path)
    assert shades(tmp_path / "cats") == SHADES["train"]


def test_an_archive_that_lies_deeper_beside_images_makes_no_folder_of_archives(tmp_path):
    write_images(tmp_path / "images", "train")
    write_parquet(tmp_path / "meta" / "0.parquet", "test")
    assert shades(tmp_path) == SHADES["train"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("training.parquet", "train"),
        ("cats_val_2.parquet", "validation"),
        ("DEV-1.parquet", "validation"),
        ("eval 3.tar", "test"),
        ("data/valid/0.tar", "validation"),
        ("test/train.parquet", "test"),
        ("unlabelled-00001-of-00002-abc.parquet", "unlabelled"),
        ("contest.parquet", None),
        ("trainer.parquet", None),
        ("train-and-test.parquet", None),
        ("0.parquet", None),
    ],
)
def test_what_a_name_tells(name, split):
    told = by_split([Path("r", name), Path("r/extra-00000-of-00001.parquet")], Path("r"))
    told.pop("extra", None)
    assert list(told) == ([] if split is None else [split])


def test_one_part_that_is_called_like_no_split_tells_none():
    assert by_split([Path("faces-00000-of-00001.parquet")], Path()) == {}


def test_a_split_that_was_not_chosen_is_recorded_as_the_usual_one():
    assert with_effect({"split": None})["split"] == with_effect({})["split"] == "train"
    assert with_effect({"split": "test"})["split"] == "test"


def test_images_are_the_same_as_for_those_who_had_to_name_a_split():
    identity = open_images("sklearn:digits[:3]", visible=False).identity()
    assert identity == "55dd0773f093c16b5e28f516ce3d0e21"
