"""How lambda is asked for: one value, several, or a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dtrak_stream.errors import ConfigurationError

Rule = Literal["auto", "auto-oas"]
RULES: tuple[Rule, ...] = ("auto", "auto-oas")
PATH = tuple(digit * 10.0**power for power in range(-4, 2) for digit in (1, 2, 5))
"""Dampings of `path`, as multiples of the mean eigenvalue: the best ones of all output functions,
numbers of timesteps and noise keyings of a benchmark lie between 0.001 and 3."""


@dataclass(frozen=True)
class Damping:
    """A chosen lambda.

    Attributes
    ----------
    absolute
        lambda, in units of the Gram matrix.
    relative
        lambda divided by the mean eigenvalue.
    mean_eigenvalue
        trace(G) / min(N, k): the mean over the eigenvalues that can be other than zero.
    """

    absolute: float
    relative: float
    mean_eigenvalue: float


@dataclass(frozen=True)
class DampingChoice:
    """One lambda as it is asked for.

    Attributes
    ----------
    text
        How it was written.
    kind
        `relative`: a multiple of the mean eigenvalue. `absolute`: in units of the Gram matrix.
        `auto` and `auto-oas`: by a rule.
    value
        The number; unused by a rule.
    """

    text: str
    kind: Literal["relative", "absolute"] | Rule
    value: float = 0.0


@dataclass(frozen=True)
class DampingChoices:
    """All lambdas asked for.

    Attributes
    ----------
    each
        One or more.
    several
        Whether a list was asked for, even if of one lambda.
    whole_path
        Whether it is the path, which is computed from one eigendecomposition or not at all.
    """

    each: tuple[DampingChoice, ...]
    several: bool
    whole_path: bool


def parse_dampings(text: str) -> DampingChoices:
    """Read the value of `--damping`.

    Parameters
    ----------
    text
        `auto`, `auto-oas`, `0.1` (a multiple of the mean eigenvalue), `abs:500`, several of these
        separated by commas, or `path` (the multiples in `PATH`).

    Raises
    ------
    ConfigurationError
        If it is anything else, or a negative number.
    """
    if text == "path":
        path = tuple(DampingChoice(f"{value:g}", "relative", value) for value in PATH)
        return DampingChoices(path, several=True, whole_path=True)
    parts = text.split(",")
    each = tuple(_choice(part.strip()) for part in parts)
    return DampingChoices(each, several=len(parts) > 1, whole_path=False)


def _choice(text: str) -> DampingChoice:
    for rule in RULES:
        if text == rule:
            return DampingChoice(text, rule)
    kind, _, number = text.rpartition(":")
    if kind not in ("", "abs"):
        raise _refusal(text)
    return DampingChoice(text, "absolute" if kind else "relative", _number(number, text))


def _number(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError as error:
        raise _refusal(text) from error
    if not 0 <= value < float("inf"):
        raise _refusal(text)
    return value


def _refusal(text: str) -> ConfigurationError:
    return ConfigurationError(
        "not a damping",
        where=f"--damping {text}",
        remedy="use auto, auto-oas, a multiple of the mean eigenvalue such as 0.1 (not negative), "
        "abs:500, several of these as 0.01,0.1,abs:500, or path",
    )
