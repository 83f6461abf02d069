"""The methods table: what each method differentiates and does with the features.

A method is one line here. Everything else reads its columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.objectives import interpolation_eta

_PREDICTION_FUNCTIONS = ("square", "avg", "l1", "l2", "linf", "interpolation")


@dataclass(frozen=True)
class Method:
    """One attribution method.

    Attributes
    ----------
    name
        Name on the command line.
    formula
        The score tau of a query q and a training sample n, from their features phi.
    source
        Where it was published.
    output_function
        What it differentiates unless told otherwise.
    output_functions
        What it may differentiate and still be called by its name.
    uses_kernel
        Whether features go through (Phi^T Phi + lambda I)^-1.
    """

    name: str
    formula: str
    source: str
    output_function: str
    output_functions: tuple[str, ...]
    uses_kernel: bool


_CORE = "phi_q^T (Phi^T Phi + lambda I)^-1 phi_n"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("trak", _CORE, "Park et al. 2023", "simple", ("simple", "elbo"), True),
        Method("d-trak", _CORE, "Zheng et al. 2024", "square", _PREDICTION_FUNCTIONS, True),
    )
}


def find_method(name: str) -> Method:
    """Return the method called `name`.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if name not in METHODS:
        raise ConfigurationError(
            "unknown method",
            where=f"--method {name}",
            remedy=f"use one of: {', '.join(METHODS)}",
        )
    return METHODS[name]


def refuse_other_output_function(method: Method, output_function: str) -> None:
    """Refuse features that are not what the method differentiates.

    Raises
    ------
    ConfigurationError
        Naming the output functions it takes.
    """
    kind = output_function.partition("(")[0]
    if kind == "interpolation":
        interpolation_eta(output_function)
    if kind not in method.output_functions:
        raise ConfigurationError(
            f"{method.name} takes features of {', '.join(method.output_functions)}, "
            f"not of {output_function}",
            where=f"--method {method.name}",
            remedy=f"featurize with --output-function {method.output_function}, "
            "or choose another --method",
        )
