"""Groups from a CSV file: who belongs where, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import (
    ConfigurationError,
    DtrakStreamError,
    FingerprintMismatchError,
    InputError,
    MemoryLimitError,
)
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.groups.read import read_groups
from dtrak_stream.groups.table import REST, GroupBuilder
from tests.groups.conftest import table_of
from tests.small_jobs import random_pixels, save_images

IDS = ["a.png", "dir/b.png", "c, d.png", "ü.png"]


def members(table) -> list[str]:
    return [table.names[group].decode() for group in table.index]


def test_each_sample_gets_the_group_of_its_line(tmp_path):
    text = '\ufeffid,group\nü.png,late\n"c, d.png","x, y"\na.png,late\n\ndir/b.png,1\n'
    (tmp_path / "g.csv").write_text(text)
    table = table_of(tmp_path / "g.csv", IDS)
    assert members(table) == ["late", "1", "x, y", "late"]
    assert table.names.tolist() == [b"late", b"1", b"x, y"]  # in the order of first samples
    assert table.rest == 0


def test_a_file_needs_no_header(tmp_path):
    (tmp_path / "g.csv").write_text("a.png,x\ndir/b.png,x\n")
    table = table_of(tmp_path / "g.csv", IDS[:2])
    assert members(table) == ["x", "x"]


def test_samples_without_a_group_are_a_counted_rest(tmp_path):
    (tmp_path / "g.csv").write_text("dir/b.png,x\nü.png, \n")
    table = table_of(tmp_path / "g.csv", IDS)
    assert members(table) == [REST, "x", REST, REST]
    assert table.rest == 3
    usable = np.array([True, True, False, True])
    assert table.counts(usable).tolist() == [1, 2]


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdef")), min_size=1, max_size=30))
def test_the_table_is_the_list_of_labels_whatever_order_they_come_in(labels):
    builders = [GroupBuilder(len(labels), memory_limit=2**30, where="here") for _ in range(2)]
    for builder, order in zip(builders, (range(len(labels)), reversed(range(len(labels))))):
        for row in order:
            builder.index[row] = builder.code(labels[row])
    one, other = (builder.table() for builder in builders)
    assert members(one) == [label or REST for label in labels]
    assert one.hash() == other.hash()
    assert one.names.tolist() == other.names.tolist()
    assert one.rest == labels.count(None)


def test_another_membership_has_another_hash(tmp_path):
    hashes = set()
    for text in ("a.png,x\nü.png,y\n", "a.png,y\nü.png,x\n", "a.png,x\n", "a.png,x\nü.png,x\n"):
        (tmp_path / "g.csv").write_text(text)
        hashes.add(table_of(tmp_path / "g.csv", IDS).hash())
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("e,x\na.png,x\nf,x\ng,y\nh,y\n", r"4 of its ids are no training samples \(e, f, g, ...\)"),
        ("a.pn,x\na.png,x\n", r"1 of its ids are no training samples \(a\.pn\)"),
        ("a.png,x\nü.png,y\na.png,x\n", r"line 3 names the sample a\.png a second time"),
        ("a.png\n", "line 1 has 1 fields"),
        ("id,group,colour\na.png,x,y\n", "line 1 has 3 fields"),
        (f"a.png,{REST}\n", "a group is called"),
        ("a.png,\n", "no training sample has a group"),
        ("", "no training sample has a group"),
        ('a.png,"x\n', "is not CSV"),
        ("a.png,\udcff\n", "is not CSV in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(tmp_path, text, message):
    (tmp_path / "g.csv").write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        table_of(tmp_path / "g.csv", IDS)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        table_of(tmp_path / "g.csv", IDS)


def test_samples_that_share_an_id_cannot_be_told_apart(tmp_path):
    (tmp_path / "g.csv").write_text("a,x\n")
    with pytest.raises(InputError, match="two training samples are called a"):
        table_of(tmp_path / "g.csv", ["b", "a", "a"])


def test_more_names_than_fit_are_refused(tmp_path):
    ids = [str(row) for row in range(100)]
    (tmp_path / "g.csv").write_text("".join(f"{name},group {name}\n" for name in ids))
    with pytest.raises(MemoryLimitError, match="groups do not fit"):
        table_of(tmp_path / "g.csv", ids, memory_limit=10_000)
    assert len(table_of(tmp_path / "g.csv", ids)) == 100


def grouped_by_folder(tmp_path, ids):
    options = GroupOptions(group_column="folder", group_source=str(tmp_path / "images"))
    encoded = [name.encode() for name in ids]
    return read_groups(options, encoded, memory_limit=2**30, visible=False)


def test_a_column_goes_by_the_rows_of_the_store(tmp_path):
    save_images(tmp_path / "images" / "x", random_pixels(2))
    save_images(tmp_path / "images" / "y", random_pixels(2))
    names = ["x/000.png", "x/001.png", "y/000.png", "y/001.png"]
    assert members(grouped_by_folder(tmp_path, names)) == ["x", "x", "y", "y"]
    assert members(grouped_by_folder(tmp_path, names[:3])) == ["x", "x", "y"]  # a limit
    with pytest.raises(FingerprintMismatchError, match="image in row 1"):
        grouped_by_folder(tmp_path, ["x/000.png", "y/000.png"])
    with pytest.raises(FingerprintMismatchError, match="number of training images"):
        grouped_by_folder(tmp_path, [*names, "z"])


@pytest.mark.parametrize(
    "options",
    [
        {"groups": "g.csv", "group_column": "label"},
        {"group_column": "label"},
        {"groups": "g.csv", "top_groups": 0},
    ],
)
def test_options_that_contradict_each_other_are_refused(options):
    with pytest.raises(ConfigurationError):
        _ = GroupOptions(**options).chosen
    assert issubclass(ConfigurationError, DtrakStreamError)
