"""Natural order as bytes, against the library whose order it is."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from natsort import natsort_keygen

from dtrak_stream.data.natural_order import name_of, sortable

natsort_key = natsort_keygen()

# few letters, so that names share beginnings; digits of other scripts, accents, and what natsort
# would take for signs, points and exponents if it were asked for other numbers
LETTERS = "019a.b_-+e²٣½é\u0301ß日😀\udcff"
names = st.text(st.sampled_from(LETTERS), min_size=1, max_size=12)
ascii_names = st.text(st.sampled_from("0019a.b_-+e "), min_size=1, max_size=12)


def slow_key(name: str):
    return natsort_key(name.rsplit(".", 1)[0]), name


@given(st.lists(names | ascii_names, max_size=8))
def test_order_of_bytes_is_the_order_of_natsort(some):
    assert sorted(some, key=sortable) == sorted(some, key=slow_key)


@given(names | ascii_names)
def test_name_comes_back_from_its_bytes(name):
    assert name_of(sortable(name)) == name


def test_every_byte_that_a_name_may_hold_comes_back_in_order():
    some = [chr(number) for number in range(1, 256) if chr(number) != "/"]
    assert sorted(some, key=sortable) == sorted(some, key=slow_key)
    assert [name_of(sortable(name)) for name in some] == some


@pytest.mark.parametrize("digits", [1, 9, 10, 100, 254])
def test_number_of_any_length_is_compared_as_a_number(digits):
    smaller, larger = "9" * digits, "1" + "0" * digits
    assert sortable(smaller) < sortable(larger)
    assert sortable("0" * (255 - digits) + smaller) < sortable(larger)


def test_name_that_is_not_utf_8_keeps_its_place():
    broken = os.fsdecode(b"a\xff2")
    assert sorted(["b", broken, "a3"], key=sortable) == ["a3", broken, "b"]
    assert name_of(sortable(broken)) == broken
