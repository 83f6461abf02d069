"""Names in tables: no formulas for a spreadsheet, and the same names when they are read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.support.table_cells import cell_of, name_in


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1.png", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_what_begins_as_a_formula_is_made_text(name):
    assert cell_of(name) == f"'{name}"


@pytest.mark.parametrize("name", ["", "a.png", "a=1", "0-1", " =1"])
def test_other_names_stay_as_they_are(name):
    assert cell_of(name) == name


@given(st.text())
def test_every_name_is_read_as_it_was(name):
    assert name_in(cell_of(name)) == name
