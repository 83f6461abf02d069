"""Paths of rows made of several columns, and CelebA's list of splits, as D-TRAK's data lie."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import pytest

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.text_tables import open_partition
from dtrak_stream.errors import InputError
from tests.small_jobs import random_pixels, save_images

PATTERN = "imagefolder/{label}/{name}"


def opened(path: Path, **options: object) -> Images:
    return open_images(f"list:{path}", None, ImageOptions(**options), visible=False)  # type: ignore[arg-type]


def ids(images: Images) -> list[str]:
    return images.sample_ids(0, len(images))


@pytest.fixture
def artbench(tmp_path: Path) -> Path:
    """A list with names, labels and splits, and the images of each label in a folder."""
    rows = []
    for number, pixels in enumerate(random_pixels(6)):
        label = ("ukiyo_e", "baroque")[number % 2]
        save_images(tmp_path / "imagefolder" / label / str(number), pixels[None])
        rows.append((f"{number}/000.png", label, ("train", "test")[number // 4]))
    path = tmp_path / "ArtBench-10.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "label", "split"), *rows])
    return path


def index(path: Path, rows: list[int]) -> Path:
    path.write_bytes(pickle.dumps(rows))
    return path


def test_a_pattern_puts_columns_into_paths(artbench):
    images = opened(artbench, path_column=PATTERN, split="train")
    assert ids(images) == [
        f"imagefolder/{('ukiyo_e', 'baroque')[row % 2]}/{row}/000.png" for row in range(4)
    ]
    assert images.image(2).shape == (1, 8, 8)


def test_rows_of_an_index_count_in_the_whole_list_where_all_splits_are_read(artbench, tmp_path):
    """D-TRAK's index holds row numbers of the list, of whichever split."""
    listed = index(tmp_path / "idx-train.pkl", [5, 0, 3])
    images = opened(artbench, path_column=PATTERN, split="all", rows=listed)
    assert [name.split("/")[2] for name in ids(images)] == ["5", "0", "3"]


def test_a_pattern_of_columns_that_are_not_there_is_refused(artbench):
    with pytest.raises(InputError, match=r"no column 'style'; it has name, label, split"):
        opened(artbench, path_column="imagefolder/{style}/{name}", split="all")


def test_a_row_without_a_part_of_its_path_is_named(artbench):
    artbench.write_text("name,label,split\na.png,,train\n")
    with pytest.raises(InputError, match=r"row 0 .* holds nothing where a path should be"):
        opened(artbench, path_column=PATTERN)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """A list of names and splits beside a folder of images, as the data set CelebA has."""
    save_images(tmp_path / "img_align_celeba", random_pixels(6))
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("".join(f"{row:03d}.png {row // 2}\n" for row in range(6)) + "\n")
    return path


def test_a_list_of_names_and_splits_is_a_table(celeba):
    table = open_partition(celeba)
    assert table.values("split", 1, 6) == ["train", *["validation"] * 2, *["test"] * 2]
    assert table.values("file_name", 2, 3) == ["002.png"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"split": "validation"}, ["002", "003"]),
        ({"split": "train"}, ["000", "001"]),
        ({"split": "all", "rows": [4, 1, 2]}, ["004", "001", "002"]),
    ],
)
def test_splits_and_rows_of_such_a_list_are_chosen(celeba, tmp_path, options, expected):
    if "rows" in options:
        options = {**options, "rows": index(tmp_path / "idx.pkl", options["rows"])}
    images = opened(celeba, path_column="img_align_celeba/{file_name}", **options)
    assert ids(images) == [f"img_align_celeba/{name}.png" for name in expected]
    assert images.image(0).shape == (1, 8, 8)


@pytest.mark.parametrize("line", ["a.png", "a.png 3", "a.png 0 1", "a b.png 1"])
def test_a_line_of_anything_else_is_refused(celeba, line):
    celeba.write_text(f"000.png 0\n{line}\n")
    with pytest.raises(InputError, match="line 2 is not a name and a split"):
        open_partition(celeba)
