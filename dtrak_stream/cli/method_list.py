"""`--method list`: the methods table for a reader, instead of a run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dtrak_stream.methods import METHODS, NEEDS, Method

_COLUMNS = ("name", "formula", "source", "needs", "cost")
_NOTE = (
    "K = Phi^T Phi + lambda I, h_n = phi_n^T K^-1 phi_n, r_n = residual, Phi = features (N, k); "
    "several models: scores are averaged. Positive = proponent."
)


def asks_for_methods(arguments: Sequence[str]) -> bool:
    """Return whether a command line says `--method list`."""
    return "--method=list" in arguments or ("--method", "list") in itertools.pairwise(arguments)


def methods_table() -> str:
    """Return the table: name, formula, source, needs and cost of each method, in columns."""
    rows = [_COLUMNS, *map(_row, METHODS.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", _NOTE])


def _row(method: Method) -> tuple[str, ...]:
    own = " + ".join(stream.output_function for stream in method.streams)
    function = method.query_output_function or own
    needs = NEEDS[method.needs] + (f" (of {function})" if function else "")
    return method.name, method.formula, method.source, needs, method.cost
