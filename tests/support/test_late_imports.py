"""Things named by where they are are imported when they are asked for, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.support.late_imports import imported


def test_what_lies_at_a_place_is_returned() -> None:
    assert imported("errors:DtrakStreamError") is DtrakStreamError


@pytest.mark.parametrize("place", ["errors:NoSuchError", "no_such_module:name", "errors"])
def test_a_place_where_nothing_lies_is_an_error(place: str) -> None:
    with pytest.raises((ImportError, AttributeError)):
        imported(place)


def test_the_tables_of_formulas_and_projectors_load_torch_for_none_of_their_rows() -> None:
    code = (
        "import sys\n"
        "from dtrak_stream.objective import formulas\n"
        "from dtrak_stream.projectors import table\n"
        "assert formulas.FORMULAS and table.PROJECTORS and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
