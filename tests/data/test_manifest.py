"""Images that a table lists."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.labels import open_labels
from dtrak_stream.data.manifest import ManifestSource
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source_stamp import stamp_source
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.stamps import Stamp, Stamping

PLAIN = ImageOptions()
NAMES = ["images/3.png", "images/0.png", "images/11.png", "images/7.png"]
ROWS = [
    {"path": name, "artist": artist, "year": year}
    for name, artist, year in zip(NAMES, "abba", range(1900, 1904), strict=True)
]


def write(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"list{suffix}"
    if suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def opened(path: object, options: ImageOptions = PLAIN, **how: Any) -> Images:
    return open_images(f"list:{path}", None, options, visible=False, **how)


def ids(images: Images) -> list[str]:
    return images.sample_ids(0, len(images))


def stamp_of(path: Path, options: ImageOptions = PLAIN) -> Stamp:
    stamping = Stamping()
    assert stamp_source(f"list:{path}", options, stamping)
    return stamping.stamp()


@pytest.fixture(params=[".csv", ".jsonl", ".parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> Path:
    return write(tmp_path, request.param, ROWS)


@pytest.fixture
def jsonl(tmp_path: Path, folder: Path) -> Path:
    return write(tmp_path, ".jsonl", ROWS)


def test_images_are_those_listed_in_the_order_of_the_list(table, pixels):
    images = opened(table)
    assert ids(images) == NAMES
    assert np.allclose(
        images.image(2).numpy(), pixels[11].transpose(2, 0, 1) / 127.5 - 1, atol=1e-6
    )
    assert ids(open_images(f"list:{table}[1:3]", visible=False)) == NAMES[1:3]


def test_columns_of_the_list_give_groups(table):
    labels = open_labels(f"list:{table}", "artist", ImageOptions(), visible=False)
    assert labels.labels(0, 4) == ["a", "b", "b", "a"]
    years = open_labels(f"list:{table}", "year", ImageOptions(), visible=False)
    assert years.labels(1, 3) == ["1901", "1902"]
    with pytest.raises(InputError, match="it has path, artist, year"):
        open_labels(f"list:{table}", "style", ImageOptions(), visible=False)


def test_the_identity_is_that_of_the_same_files_by_the_same_names(table, tmp_path):
    other = write(tmp_path, ".csv" if table.suffix != ".csv" else ".jsonl", ROWS)
    assert opened(table).identity() == opened(other).identity()
    assert opened(table).identity() != opened(write(tmp_path, ".csv", ROWS[::-1])).identity()


def test_absolute_paths_are_taken_as_they_are(tmp_path, folder):
    rows = [{"path": str(folder / "3.png")}]
    (tmp_path / "elsewhere").mkdir()
    assert ids(opened(write(tmp_path / "elsewhere", ".csv", rows))) == [str(folder / "3.png")]


@pytest.mark.parametrize("name", ["path", "file_name", "image", "file"])
def test_usual_names_of_the_column_are_known(tmp_path, folder, name):
    path = write(tmp_path, ".csv", [{"id": "x", name: "images/1.png"}])
    assert ids(opened(path)) == ["images/1.png"]


def test_the_column_can_be_named_and_must_be_where_it_is_not_clear(tmp_path, folder):
    rows = [{"path": "images/1.png", "image": "images/2.png", "other": "images/3.png"}]
    path = write(tmp_path, ".csv", rows)
    assert ids(opened(path, ImageOptions(path_column="other"))) == ["images/3.png"]
    with pytest.raises(InputError, match=r"several columns .* \(path, image\).*--path-column"):
        opened(path)
    with pytest.raises(InputError, match="no column 'name'; it has path, image, other"):
        opened(path, ImageOptions(path_column="name"))
    with pytest.raises(InputError, match=r"no column of paths .*; it has caption"):
        opened(write(tmp_path, ".csv", [{"caption": "x"}]))


def test_missing_files_are_counted_told_and_left_out_one_by_one(jsonl, folder, capsys):
    for name in ("0.png", "7.png"):
        (folder / name).unlink()
    told = "2 files that it lists are missing (images/0.png, images/7.png)"
    images = open_images(f"list:{jsonl}", visible=True)
    assert told in capsys.readouterr().err
    with pytest.raises(BadImageError, match="does not exist"):
        images.image(1)
    assert images.image(0).shape == (3, 6, 8)
    assert told not in "".join(images.remarks())


def test_missing_files_outside_of_the_range_are_not_told(jsonl, folder):
    (folder / "7.png").unlink()
    source = ManifestSource(jsonl)
    source.check(range(3), visible=False)
    assert not source.remarks()
    source.check(range(4), visible=False)
    assert source.remarks() == [
        "1 file that it lists is missing (images/7.png) and will be left out as bad samples"
    ]


def test_two_rows_that_name_one_file_are_refused(tmp_path, folder):
    rows = [{"path": f"images/{number}.png"} for number in (3, 5, 1, 5, 5)]
    path = write(tmp_path, ".csv", rows)
    with pytest.raises(InputError, match=r"rows 1 and 3 .* name images/5\.png \(2 rows in all"):
        opened(path)
    assert ids(open_images(f"list:{path}[:3]", visible=False)) == [row["path"] for row in rows[:3]]


@pytest.mark.parametrize("second", ["./images/5.png", "images//5.png", "{folder}/5.png"])
def test_two_spellings_of_one_path_are_refused(tmp_path, folder, second):
    rows = [{"path": name} for name in ("images/5.png", second.format(folder=folder))]
    with pytest.raises(InputError, match=r"rows 0 and 1 .* both name images/5\.png"):
        opened(write(tmp_path, ".csv", rows))


def test_paths_of_windows_are_told(tmp_path, folder, capsys):
    rows = [{"path": "images/5.png"}, {"path": "images\\3.png"}]
    open_images(f"list:{write(tmp_path, '.csv', rows)}", visible=False)
    told = "bad samples; between folders write / instead of \\"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", None, 7, ["a"], "a\0.png", "\ud800.png"])
def test_a_row_without_a_path_is_refused(tmp_path, value):
    path = write(tmp_path, ".jsonl", [{"path": "a.png"}, {"path": value}])
    with pytest.raises(InputError, match=r"row 1 .* where a path should be"):
        opened(path)


def test_what_is_no_list_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        opened(tmp_path / "a.csv")
    (tmp_path / "a.tsv").write_text("a.png\n")
    with pytest.raises(InputError, match=r"\.csv, \.jsonl or \.parquet"):
        opened(tmp_path / "a.tsv")
    (tmp_path / "a.csv").write_text("path\n")
    with pytest.raises(InputError, match="lists no images"):
        opened(tmp_path / "a.csv")


def test_the_stamp_shows_a_change_of_the_list_or_of_a_file_it_lists(jsonl, folder):
    before = stamp_of(jsonl)
    assert stamp_of(jsonl) == before
    (folder / "5.png").unlink()
    assert stamp_of(jsonl) == before
    (folder / "7.png").unlink()
    without = stamp_of(jsonl)
    assert without != before
    (folder / "3.png").rename(folder / "7.png")
    assert stamp_of(jsonl) not in (before, without)
    jsonl.write_text(jsonl.read_text() + "\n")
    assert stamp_of(jsonl) != before


def with_splits(folder: Path, splits: list[str | None]) -> Path:
    rows = [row | {"split": split} for row, split in zip(ROWS, splits, strict=True)]
    return write(folder, ".jsonl", rows)


def test_a_column_of_splits_tells_splits(tmp_path, folder):
    path = with_splits(tmp_path, ["train", "test", "train", None])
    with pytest.raises(InputError, match=r"several splits \(train, test\)"):
        opened(path)
    with pytest.raises(InputError, match="no split 'dev'; it has train, test"):
        opened(path, ImageOptions(split="dev"))
    assert ids(opened(path, ImageOptions(split="train"))) == NAMES[:3:2]
    assert ids(opened(path, ImageOptions(split="all"))) == NAMES
    assert ids(opened(path, ImageOptions(where=("split=test",)))) == NAMES[1:2]
    assert ids(opened(path, ImageOptions(where=("split=test",), split="all"))) == NAMES[1:2]
    with pytest.raises(InputError, match="both --split train and --where split=test say which"):
        opened(path, ImageOptions(where=("split=test",), split="train"))


def test_captions_are_not_taken_from_the_column_of_splits(tmp_path, folder):
    rows = [{"path": name, "split": "train", "words": "a cat"} for name in NAMES]
    kinds = {n: c.kind for n, c in ManifestSource(write(tmp_path, ".csv", rows)).columns().items()}
    assert kinds == {"path": "name", "split": "name", "words": "text"}


def test_one_split_in_the_column_is_all_there_is(tmp_path, folder):
    path = with_splits(tmp_path, ["train"] * 4)
    assert ids(opened(path)) == NAMES
    with pytest.raises(InputError, match="no split 'test'"):
        opened(path, ImageOptions(split="test"))
