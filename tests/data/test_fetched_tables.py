"""Captions in the tables that img2dataset leaves beside folders and tar files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.conditions import open_conditions
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source_stamp import stamp_source
from dtrak_stream.errors import InputError
from dtrak_stream.support.stamps import Stamping

KEYS = ("000000000", "000000001", "000010000")
CAPTIONS = dict(zip(KEYS, ("a cat", "a dog", "a bird"), strict=True))


def write_table(path: Path, keys, **columns) -> None:
    """Write rows in another order than that of images, and a row of what was not fetched."""
    rows = [*reversed(keys), "000099999"]
    found = {
        "key": rows,
        "url": rows,
        "caption": [CAPTIONS.get(key, "not there") for key in rows],
        "status": ["success"] * len(keys) + ["failed_to_download"],
        "width": list(range(len(rows))),
    }
    datasets.Dataset.from_dict(found | columns).to_parquet(path)


def image_file(key: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), int(key) % 251, np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.fixture(params=["folders", "tars"])
def fetched(request, tmp_path) -> Path:
    """What img2dataset leaves of two shards, without texts beside the images."""
    root: Path = tmp_path / "laion"
    root.mkdir()
    for shard, keys in (("00000", KEYS[:2]), ("00001", KEYS[2:])):
        write_table(root / f"{shard}.parquet", keys)
        (root / f"{shard}_stats.json").write_text("{}")
        if request.param == "folders":
            (root / shard).mkdir()
            for key in keys:
                (root / shard / f"{key}.png").write_bytes(image_file(key))
            continue
        with tarfile.open(root / f"{shard}.tar", "w") as archive:
            for key in keys:
                member, content = tarfile.TarInfo(f"{key}.png"), image_file(key)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return root


def opened(spec: object, **options):
    return open_source(str(spec), ImageOptions(**options), visible=False)


def captions(source, **options):
    return open_conditions(
        source,
        range(len(source)),
        "caption",
        ConditionOptions(**options),
        where="--train",
        visible=False,
    )


def test_captions_are_found_by_the_keys_of_images(fetched):
    found = captions(opened(fetched))
    assert found.read(0, 3) == ["a cat", "a dog", "a bird"]
    assert found.read(1, 2) == ["a dog"]
    assert found.told() == "captions: column caption of 2 tables of img2dataset (3)"
    assert opened(fetched).column("width", 0, 3) == [1, 0, 0]
    assert opened(fetched).remarks() == []


def test_a_shard_that_is_named_alone_has_the_table_beside_it(fetched, monkeypatch):
    name = "00000.tar" if (fetched / "00000.tar").exists() else "00000"
    source = opened(fetched / name)
    told = "captions: column caption of 00000.parquet of img2dataset (2)"
    assert captions(source).told() == told
    assert captions(source).read(0, 2) == ["a cat", "a dog"]
    if name == "00000":
        monkeypatch.chdir(fetched / "00000")
        assert captions(opened(".")).read(0, 2) == ["a cat", "a dog"]


def test_rows_that_were_not_fetched_say_nothing(fetched):
    keys = KEYS[:2]
    write_table(fetched / "00000.parquet", keys, status=["success", "failed", "success"])
    found = captions(opened(fetched))
    with pytest.raises(InputError, match="1 image has no caption in column caption of 2 tables"):
        found.read(0, 3)
    assert opened(fetched).column("caption", 0, 3) == [None, "a dog", "a bird"]
    assert len(opened(fetched, where=("status=success",))) == 2


@pytest.mark.parametrize("fetched", ["folders"], indirect=True)
def test_texts_beside_images_go_before_those_of_tables(fetched):
    for key in KEYS[:2]:
        (fetched / "00000" / f"{key}.txt").write_text(f"own {key}")
    (fetched / "00001" / f"{KEYS[2]}.txt").write_text("own")
    assert captions(opened(fetched)).told() == "captions: sidecar .txt files (3)"
    found = captions(opened(fetched), caption_column="caption")
    assert found.read(0, 3) == ["a cat", "a dog", "a bird"]


def test_texts_in_tar_files_go_before_those_of_tables(tmp_path):
    with tarfile.open(tmp_path / "00000.tar", "w") as archive:
        for name, content in (("7.png", image_file("7")), ("7.txt", b"own")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    write_table(tmp_path / "00000.parquet", ("7",))
    assert captions(opened(tmp_path / "00000.tar")).read(0, 1) == ["own"]


def test_two_rows_of_one_image_are_refused(fetched):
    write_table(fetched / "00000.parquet", (KEYS[0], KEYS[0]))
    with pytest.raises(InputError, match=r"00000\.parquet: has a row of .*which has one already"):
        captions(opened(fetched))


def test_a_table_that_is_cut_off_is_refused_where_captions_are_wanted(fetched):
    path = fetched / "00001.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"00001\.parquet: cannot be read"):
        captions(opened(fetched))


def test_a_table_without_keys_is_another_ones(fetched):
    for shard in ("00000", "00001"):
        table = datasets.Dataset.from_dict({"caption": ["a cat"]})
        table.to_parquet(fetched / f"{shard}.parquet")
    with pytest.raises(InputError, match="captions, and none are found"):
        captions(opened(fetched))


def test_a_table_that_changes_shows_in_the_stamp_of_its_source(fetched):
    def stamp(spec: object):
        stamping = Stamping()
        stamp_source(str(spec), ImageOptions(), stamping)
        return stamping.stamp().digest

    specs = [fetched, fetched / ("00000" if (fetched / "00000").is_dir() else "00000.tar")]
    before = [stamp(spec) for spec in specs]
    write_table(fetched / "00000.parquet", KEYS[:2], url=["another", "one", "here"])
    assert all(now != then for now, then in zip(map(stamp, specs), before, strict=True))
