"""`--method list`: the methods table for a reader, instead of a run."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from dtrak_stream.cli.command_line import EXIT_DONE, Outcome, run
from dtrak_stream.methods import METHODS, NEEDS, Method

Config = TypeVar("Config")

_COLUMNS = ("name", "formula", "source", "needs", "cost")
_NOTE = (
    "K = Phi^T Phi + lambda I, h_n = phi_n^T K^-1 phi_n, r_n = residual, Phi = features (N, k); "
    "several models: scores are averaged. Positive = proponent."
)


def run_or_list(
    config_type: type[Config],
    stage: Callable[[Config], Outcome],
    arguments: Sequence[str] | None = None,
) -> None:
    """Do what `run` does, or print the methods table where the options say `--method list`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--method=list" in given or ("--method", "list") in itertools.pairwise(given):
        print(methods_table())
        sys.exit(EXIT_DONE)
    run(config_type, stage, given)


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
    function = method.query_output_function or method.output_function
    needs = NEEDS[method.needs] + (f" (of {function})" if function else "")
    return method.name, method.formula, method.source, needs, method.cost
