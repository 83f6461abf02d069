"""Names as cells of tables: a spreadsheet that opens the table must take none for a formula.

What begins as a formula does (=, +, -, @, a tab or a line end) gets a ' in front, as does a name
that begins with one itself: so the ' is what is to be taken off, and nothing else.
"""

from __future__ import annotations

_AS_FORMULAS_BEGIN = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARK = "'"


def cell_of(name: str) -> str:
    """Return a name as it is written into a cell."""
    return _MARK + name if name.startswith((*_AS_FORMULAS_BEGIN, _MARK)) else name


def name_in(cell: str) -> str:
    """Return the name that `cell_of` made a cell of."""
    return cell.removeprefix(_MARK)
