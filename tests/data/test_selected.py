"""What --where and --rows pick of a source, and how a range and a limit count in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.class_labels import label_reader
from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.labels import open_labels, sample_ids_of
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions, with_effect
from dtrak_stream.data.source_stamp import stamp_source
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.support.stamps import Stamping

ARTISTS = "abbacabcaabb"


def opened(spec: object, *, limit: int | None = None, **options: Any) -> Images:
    return open_images(str(spec), None, ImageOptions(**options), limit=limit, visible=False)


def ids(images: Images) -> list[str]:
    return images.sample_ids(0, len(images))


@pytest.fixture
def parquet(tmp_path: Path, folder: Path) -> Path:
    cells = [{"bytes": (folder / f"{row}.png").read_bytes(), "path": None} for row in range(12)]
    classes = datasets.ClassLabel(names=["cat", "dog"])
    columns = {
        "image": cells,
        "artist": list(ARTISTS),
        "number": [row % 3 for row in range(12)],
        "kind": [row % 2 for row in range(12)],
        "open": [row < 6 for row in range(12)],
    }
    rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    rows.cast_column("kind", classes).to_parquet(tmp_path / "data.parquet")
    return tmp_path / "data.parquet"


def rows_file(folder: Path, rows: list[int], name: str = "rows.txt") -> Path:
    (folder / name).write_text("\n".join(map(str, rows)))
    return folder / name


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("artist=c", [4, 7]),
        ("number=2", [2, 5, 8, 11]),
        ("kind=dog", [1, 3, 5, 7, 9, 11]),
        ("open=True", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_where_keeps_the_rows_with_a_value(parquet, pixels, condition, rows):
    images = opened(parquet, where=(condition,))
    assert ids(images) == [str(row) for row in rows]
    expected = pixels[rows[-1]].transpose(2, 0, 1) / 127.5 - 1
    assert np.allclose(images.image(len(rows) - 1), expected, atol=1e-6)


def test_where_with_several_conditions_keeps_rows_with_all_of_them(parquet):
    assert ids(opened(parquet, where=("artist=b", "kind=dog"))) == ["1", "11"]


def test_where_works_on_folders_and_arrays_with_something_beside(tmp_path, folder, pixels):
    (folder / "deep").mkdir()
    (folder / "5.png").rename(folder / "deep" / "5.png")
    assert ids(opened(folder, where=("folder=deep",))) == ["deep/5.png"]
    np.savez(tmp_path / "a.npz", images=pixels, kind=np.arange(12) % 4)
    images = opened(f"{tmp_path}/a.npz:images", where=("kind=3",))
    assert ids(images) == ["3", "7", "11"]


@pytest.mark.parametrize("kind", ["folder", "npy", "parquet"])
def test_rows_are_picked_and_put_in_order(request, tmp_path, folder, parquet, pixels, kind):
    np.save(tmp_path / "a.npy", pixels)
    spec = {"folder": folder, "npy": tmp_path / "a.npy", "parquet": parquet}[kind]
    images = opened(spec, rows=rows_file(tmp_path, [7, 0, 1, 2, 11]))
    ending = ".png" * (kind == "folder")
    assert ids(images) == [f"{row}{ending}" for row in (7, 0, 1, 2, 11)]
    assert np.allclose(images.image(0), pixels[7].transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert images.sample_ids(1, 4) == [f"{row}{ending}" for row in (0, 1, 2)]


def test_rows_count_after_where_then_come_range_and_limit(tmp_path, parquet):
    rows = rows_file(tmp_path, [4, 0, 2, 1])
    where = ("artist=a",)  # rows 0, 3, 5, 8, 9
    assert ids(opened(parquet, where=where)) == ["0", "3", "5", "8", "9"]
    assert ids(opened(parquet, where=where, rows=rows)) == ["9", "0", "5", "3"]
    assert ids(opened(f"{parquet}[1:4]", where=where, rows=rows)) == ["0", "5", "3"]
    assert ids(opened(f"{parquet}[1:4]", limit=2, where=where, rows=rows)) == ["0", "5"]
    listed = sample_ids_of(
        f"{parquet}[1:4]", ImageOptions(where=where, rows=rows), limit=2, visible=False
    )
    assert listed[0:2] == [b"0", b"5"]


def test_groups_are_those_of_the_rows_picked(tmp_path, parquet):
    options = ImageOptions(where=("kind=cat",), rows=rows_file(tmp_path, [5, 1]))
    labels = open_labels(f"{parquet}[:2]", "artist", options, visible=False)
    assert labels.sample_ids(0, 2) == ["10", "2"]
    assert labels.labels(0, 2) == ["b", "b"]


def test_rows_out_of_range_of_what_where_keeps_are_refused(tmp_path, parquet):
    with pytest.raises(InputError, match=r"rows.txt: names row 2, and there are 2"):
        opened(parquet, where=("artist=c",), rows=rows_file(tmp_path, [0, 2]))


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("artist=z", "the column holds a, b, c; name a value"),
        ("style=a", "there is no such column; it has image, artist"),
    ],
)
def test_conditions_that_no_row_meets_are_refused(parquet, condition, problem):
    with pytest.raises(InputError, match=f"--where {condition}: .*{problem}"):
        opened(parquet, where=(condition,))


def test_a_source_without_columns_has_no_conditions(tmp_path, pixels):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(InputError, match="has no columns; use --rows"):
        opened(tmp_path / "a.npy", where=("a=b",))


@pytest.mark.parametrize("conditions", [("split",), ("=train",), ("a=",), ("a=b", "a=c")])
def test_what_is_no_condition_is_refused_before_anything_is_opened(conditions):
    with pytest.raises(ConfigurationError, match=f"--where {conditions[0]}"):
        ImageOptions(where=conditions)


def test_the_identity_is_of_what_is_picked_not_of_how(tmp_path, folder, parquet):
    picked = opened(folder, rows=rows_file(tmp_path, [0, 1, 2]))
    assert picked.identity() == opened(f"{folder}[:3]").identity()
    as_json = tmp_path / "rows.json"
    as_json.write_text("[2, 5, 8, 11]")
    by_value = opened(parquet, where=("number=2",))
    assert by_value.identity() == opened(parquet, rows=as_json).identity()
    assert by_value.identity() != opened(parquet, where=("number=1",)).identity()


@pytest.mark.parametrize("rows", [[0, 1, 3], [0, 2, 1]])
def test_other_rows_of_an_array_have_another_identity(tmp_path, pixels, rows):
    np.save(tmp_path / "a.npy", np.repeat(pixels[:1], 12, axis=0))
    first = opened(tmp_path / "a.npy", rows=rows_file(tmp_path, [0, 1, 2]))
    assert first.identity() != opened(tmp_path / "a.npy", rows=rows_file(tmp_path, rows)).identity()


def test_only_the_floats_of_picked_rows_must_be_in_range(tmp_path):
    floats = np.full((6, 5, 5), -0.5, np.float32)
    floats[5] = 9
    np.save(tmp_path / "a.npy", floats)
    assert len(opened(tmp_path / "a.npy", rows=rows_file(tmp_path, [4, 1]))) == 2
    with pytest.raises(InputError, match="9"):
        opened(tmp_path / "a.npy", rows=rows_file(tmp_path, [5, 1]))


def test_the_stamp_shows_other_rows(tmp_path, folder):
    def stamp() -> object:
        stamping = Stamping()
        options = ImageOptions(rows=tmp_path / "rows.txt")
        assert stamp_source(str(folder), options, stamping)
        return stamping.stamp()

    rows_file(tmp_path, [0, 1])
    before = stamp()
    assert stamp() == before
    (tmp_path / "rows.txt").write_text("1\n0\n")
    assert stamp() != before


def test_what_picks_images_decides_nothing_besides(tmp_path):
    plain = ImageOptions()
    picking = ImageOptions(where=("a=b",), rows=tmp_path, path_column="c")
    assert with_effect(vars(plain)) == with_effect(vars(picking))
    assert picking.elsewhere("test") == ImageOptions(split="test", path_column="c")


def test_two_equal_lists_may_share_files_outside_of_what_is_picked(tmp_path, folder):
    table = tmp_path / "list.csv"
    table.write_text("path,part\nimages/0.png,x\nimages/1.png,x\nimages/0.png,y\n")
    assert ids(opened(f"list:{table}", where=("part=x",))) == ["images/0.png", "images/1.png"]
    with pytest.raises(InputError, match="rows 0 and 2"):
        opened(f"list:{table}")


def test_bad_images_among_picked_rows_are_bad_one_by_one(tmp_path, folder):
    Image.new("L", (4, 4)).save(folder / "3.png")
    (folder / "4.png").write_bytes(b"")
    images = opened(folder, rows=rows_file(tmp_path, [4, 0]))
    assert images.image(1).shape == (3, 6, 8)


def test_a_class_has_its_number_whatever_rows_are_picked(tmp_path, parquet, folder):
    table = tmp_path / "list.csv"
    lines = [f"images/{row}.png,{style}" for row, style in enumerate(ARTISTS)]
    table.write_text("\n".join(["path,style", *lines]))
    asked = ConditionOptions(label_column="style")
    picked = open_source(f"list:{table}", ImageOptions(where=("style=c",)), visible=False)
    reader = label_reader(picked, asked, where="list", visible=False)
    assert reader.class_names == ("a", "b", "c")
    assert reader.read(0, 2) == [2, 2]
    rows = ImageOptions(where=("style=b",), rows=rows_file(tmp_path, [2, 0]))
    picked = open_source(f"list:{table}", rows, visible=False)
    assert label_reader(picked, asked, where="list", visible=False).read(0, 2) == [1, 1]
