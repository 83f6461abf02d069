"""What folders are, as downloads leave them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import InputError


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), shade).save(file, "png")
    return file.getvalue()


def ids(spec: object, split: str | None = None) -> list[str]:
    images = open_images(str(spec), None, ImageOptions(split=split), visible=False)
    return images.sample_ids(0, len(images))


def shades(spec: object, split: str | None = None) -> list[int]:
    images = open_images(str(spec), None, ImageOptions(split=split), visible=False)
    found = (images.image(row)[0, 0, 0].item() for row in range(len(images)))
    return [round((shade + 1) * 127.5) for shade in found]


def write_table(path: Path, keys: list[str]) -> None:
    """Write what img2dataset keeps of each image beside them."""
    columns = {"key": keys, "url": keys, "caption": keys, "status": ["success"] * len(keys)}
    datasets.Dataset.from_dict(columns).to_parquet(path)


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def sample(key: str) -> dict[str, bytes]:
    record = json.dumps({"caption": key, "key": key}).encode()
    return {f"{key}.png": png(int(key)), f"{key}.txt": key.encode(), f"{key}.json": record}


KEYS = {"00000": ["000000000", "000000002"], "00001": ["000010001"]}


@pytest.mark.parametrize("below", ["", "laion"])
def test_files_of_img2dataset_are_its_images(tmp_path, below):
    root = tmp_path / below
    for shard, keys in KEYS.items():
        (root / shard).mkdir(parents=True)
        write_table(root / f"{shard}.parquet", keys)
        (root / f"{shard}_stats.json").write_text("{}")
        for name, content in (item for key in keys for item in sample(key).items()):
            (root / shard / name).write_bytes(content)
    prefix = f"{below}/" * bool(below)
    names = [f"{prefix}{shard}/{key}.png" for shard, keys in KEYS.items() for key in keys]
    assert ids(tmp_path) == names
    assert ids(root / "00000") == ["000000000.png", "000000002.png"]


@pytest.mark.parametrize("below", ["", "laion"])
def test_tar_files_of_img2dataset_are_its_images(tmp_path, below):
    root = tmp_path / below
    root.mkdir(exist_ok=True)
    for shard, keys in KEYS.items():
        write_table(root / f"{shard}.parquet", keys)
        (root / f"{shard}_stats.json").write_text("{}")
        write_tar(root / f"{shard}.tar", {n: c for key in keys for n, c in sample(key).items()})
    assert ids(tmp_path) == [key for keys in KEYS.values() for key in keys]


def write_images(path: Path, shades: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": png(shade), "path": None} for shade in shades]
    rows = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    rows.to_parquet(path)


def test_a_parquet_file_that_only_looks_like_a_table_of_img2dataset_is_read(tmp_path):
    write_images(tmp_path / "00000.parquet", [3])
    assert shades(tmp_path) == [3]
    (tmp_path / "train").mkdir()
    write_images(tmp_path / "train.parquet", [4])
    assert shades(tmp_path / "train.parquet") == [4]


def test_metadata_in_parquet_is_a_data_set_where_there_are_no_images_beside_it(tmp_path):
    write_images(tmp_path / "set" / "metadata.parquet", [5])
    assert shades(tmp_path / "set") == [5]
    (tmp_path / "set" / "more").mkdir()
    (tmp_path / "set" / "more" / "1.png").write_bytes(png(1))
    assert ids(tmp_path / "set") == ["more/1.png"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What cloning a data set of the hub leaves."""
    root = tmp_path / "clone"
    for number, content in enumerate([[1, 2], [3]]):
        write_images(root / f"data/train-{number:05d}-of-00002-0f3a9c.parquet", content)
    write_images(root / "data/test-00000-of-00001.parquet", [9])
    for name in ("README.md", ".gitattributes", "dataset_infos.json", "LICENSE"):
        (root / name).write_text("{}")
    (root / ".git" / "objects").mkdir(parents=True)
    (root / ".git" / "objects" / "0.png").write_bytes(png(7))
    return root


def test_a_clone_has_the_splits_that_its_shards_tell(clone):
    assert shades(clone, "train") == [1, 2, 3]
    assert shades(clone, "test") == [9]
    with pytest.raises(InputError, match="several splits"):
        shades(clone)


def test_a_picture_on_the_card_of_a_clone_is_not_taken_for_the_data_set(clone):
    (clone / "preview.png").write_bytes(png(7))
    with pytest.raises(InputError, match=r"image files as well as \.parquet .*/data/\*\.parquet"):
        shades(clone, "train")
    assert shades(f"{clone}/data/*.parquet", "train") == [1, 2, 3]


def test_images_beside_a_card_are_images(tmp_path):
    (tmp_path / "README.md").write_text("cats")
    (tmp_path / "0.png").write_bytes(png(5))
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "features.npy", np.zeros(3))
    assert shades(tmp_path) == [5]


@pytest.mark.parametrize("below", ["", "cat/"])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_metadata_in_parquet_lie_beside_images(tmp_path, form, below):
    folder = tmp_path / "set"
    (folder / below).mkdir(parents=True)
    for name in ("1", "2"):
        (folder / below / f"{name}.png").write_bytes(png(int(name)))
    columns = {"file_name": ["2.png", "1.png"], "text": ["two", None], "size": [4, 5]}
    datasets.Dataset.from_dict(columns).to_parquet(folder / below / "metadata.parquet")
    spec = folder
    if form == "zip":
        spec = tmp_path / "set.zip"
        with zipfile.ZipFile(spec, "w") as archive:
            for file in (path for path in folder.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(folder).as_posix())
    source = open_source(str(spec), ImageOptions(), visible=False)
    assert source.sample_ids(0, 2) == [f"{below}1.png", f"{below}2.png"]
    assert source.column("text", 0, 2) == [None, "two"]
    assert source.column("size", 1, 2) == [4]
    kinds = {name: column.kind for name, column in source.columns().items()}
    assert kinds == {"folder": "name", "text": "text", "size": "number"}
    assert source.remarks() == []


def test_damaged_metadata_in_parquet_are_refused(tmp_path):
    (tmp_path / "1.png").write_bytes(png(1))
    for content, problem in ((b"", "empty, truncated"), (b"PAR1 nonsense PAR1", "truncated")):
        (tmp_path / "metadata.parquet").write_bytes(content)
        source = open_source(str(tmp_path), ImageOptions(), visible=False)
        with pytest.raises(InputError, match=rf"metadata\.parquet.*{problem}"):
            source.columns()
    datasets.Dataset.from_dict({"file_name": ["1.png", "3.png"]}).to_parquet(
        tmp_path / "metadata.parquet"
    )
    source = open_source(str(tmp_path), ImageOptions(), visible=False)
    with pytest.raises(InputError, match=r"1 of the files it names are not there \(3\.png\)"):
        source.columns()
