"""Names: read in blocks, compared, found, ordered; memory does not follow the longest of them."""

from __future__ import annotations

import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dtrak_stream.support.names as names_module
from dtrak_stream.errors import InputError
from dtrak_stream.support.name_index import NameIndex, order_by_name
from dtrak_stream.support.names import (
    FixedWidthNames,
    ListedNames,
    each_of,
    first_difference,
    name_at,
    write_names,
)

MIB = 2**20
NAMES = [f"image-{row}".encode() for row in range(50)]

texts = st.lists(st.binary(min_size=1, max_size=20).filter(lambda name: name[-1] != 0), max_size=30)


def order(wanted, present):
    return order_by_name(wanted, present, what="images", where="here", other="there")


@given(texts, texts)
def test_the_first_difference_is_that_of_a_plain_comparison(one, other):
    other = (other + one)[: len(one)]
    expected = next(
        (place for place, pair in enumerate(zip(one, other)) if len(set(pair)) > 1), None
    )
    assert first_difference(one, other) == expected


def test_a_difference_far_into_a_list_is_found(monkeypatch):
    monkeypatch.setattr(names_module, "_BLOCK", 7)
    assert first_difference(NAMES, [*NAMES[:23], b"x", *NAMES[24:]]) == 23
    assert name_at(NAMES, 23) == "image-23"


@given(st.lists(st.binary(max_size=9), unique=True, max_size=30), texts)
def test_names_are_found_where_they_are_and_others_nowhere(names, wanted):
    wanted = [*wanted, *names]
    expected = [names.index(name) if name in names else -1 for name in wanted]
    assert NameIndex(names).places(wanted, len(wanted)).tolist() == expected
    assert NameIndex(names).twins.tolist() == []


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=12))
def test_names_that_are_there_again_are_told_by_their_second_place(names):
    second = [place for place, name in enumerate(names) if names[:place].count(name) == 1]
    assert NameIndex(names).twins.tolist() == second


@given(st.permutations(NAMES))
def test_names_in_another_order_are_matched(present):
    places = order(NAMES, present)
    assert [present[place] for place in places] == NAMES if present != NAMES else places is None


@pytest.mark.parametrize(
    ("wanted", "present", "message"),
    [
        ([b"a", b"c"], [b"a", b"b"], r"^here: 1 of its images are not in there .*'c'"),
        ([b"a"], [b"b", b"a"], r"^there: 1 of its images are not in here .*'b'"),
        ([b"a", b"b"], [b"b", b"b"], "^there: two of its images have the same name"),
        ([b"a", b"b", b"a"], [b"b", b"a"], "^here: two of its images have the same name"),
    ],
)
def test_names_that_do_not_match_are_refused(wanted, present, message):
    with pytest.raises(InputError, match=message):
        order(wanted, present)


def test_a_listing_gives_slices_of_the_chosen_part():
    listed = ListedNames(lambda start, stop: [str(row) for row in range(start, stop)], range(3, 9))
    assert len(listed) == 6
    assert listed[1:3] == [b"4", b"5"]
    assert list(each_of(listed)) == [b"3", b"4", b"5", b"6", b"7", b"8"]


@pytest.mark.parametrize("padded_bytes", [0, 2**26])
def test_what_is_written_is_read_by_anyone(tmp_path, monkeypatch, padded_bytes):
    monkeypatch.setattr(names_module, "_PADDED_BYTES", padded_bytes)
    names = [*NAMES, b"w" * 300]
    with h5py.File(tmp_path / "n.h5", "w") as file:
        write_names(file, "id", names, 300)
        assert file["id"].dtype == "S300"
        assert file["id"][()].tolist() == names
        found = FixedWidthNames(file["id"])
        assert found[3:6] == names[3:6]
        places = np.array([50, 3, 3, 0])
        assert found.at(places) == [names[place] for place in places]


def test_one_long_name_among_many_costs_neither_memory_nor_disk(tmp_path):
    count, width = 20_000, 10_000  # 200 MB if each were as wide as the widest
    names = [*(f"image-{row}".encode() for row in range(count - 1)), b"w" * width]
    tracemalloc.start()
    with h5py.File(tmp_path / "n.h5", "w") as file:
        write_names(file, "id", names, width)
        written = FixedWidthNames(file["id"])
        assert first_difference(written, names) is None
        assert NameIndex(written).places([names[-1], b"x"], 2).tolist() == [count - 1, -1]
        assert written.at(np.array([count - 1, 5])) == [names[-1], names[5]]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * MIB
    assert (tmp_path / "n.h5").stat().st_size < 10 * MIB
