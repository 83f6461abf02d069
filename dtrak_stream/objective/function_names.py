"""The names of output functions, apart from what computes them: options and methods name them."""

from __future__ import annotations

import re

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.objective.formulas import FORMULAS

LOSSES = tuple(name for name, formula in FORMULAS.items() if formula.tells == "loss")
"""Those that say how well a model predicts: functions of output and target."""
PREDICTIONS = tuple(name for name, formula in FORMULAS.items() if formula.tells == "prediction")
"""Those that say what a model predicts: functions of its output alone."""
OUTPUT_FUNCTIONS = (*FORMULAS, "interpolation(ETA)", "probe(J)")

_INTERPOLATION = re.compile(r"interpolation\(([^)]*)\)")


def formulas_in_words() -> str:
    """Return each formula with what it is, for help."""
    return ", ".join(f"{name} ({formula.explanation})" for name, formula in FORMULAS.items())


def interpolation_eta(name: str) -> float:
    """Return eta of an output function named `interpolation(ETA)`.

    Raises
    ------
    ConfigurationError
        If `name` is no such name: then it is no output function at all.
    """
    match = _INTERPOLATION.fullmatch(name)
    try:
        return float(match.group(1)) if match else _refuse_output_function(name)
    except ValueError:
        return _refuse_output_function(name)


def _refuse_output_function(name: str) -> float:
    raise ConfigurationError(
        "unknown output function",
        where=f"--output-function {name}",
        remedy=f"use one of: {', '.join(OUTPUT_FUNCTIONS)}",
    )
