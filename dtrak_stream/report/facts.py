"""The page head: what was attributed to what, and how, as the scores file tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dtrak_stream.report.histograms import unsigned
from dtrak_stream.scoring.scores_file import ScoresFile

_FEW_TIMESTEPS = 5
_LONG_VALUE = 60  # characters: a longer fact is shortened in the page head, whole further down


@dataclass(frozen=True)
class Fact:
    """One entry of the page head."""

    name: str
    """What it is."""
    value: str
    """Its value."""
    note: str = ""
    """Small print under the value."""


def facts(scores: ScoresFile) -> list[Fact]:
    """Return the page head: what was attributed to what, and how. Absent values are left out."""
    attributes = scores.attributes
    listed = [
        Fact("training images", f"{scores.left('train'):,}", _left_out(attributes, "train")),
        Fact("queries", f"{scores.left('query'):,}", _left_out(attributes, "query")),
        Fact("method", _text(attributes, "method")),
        _streams(attributes),
        Fact("output function", _text(attributes, "output_function")),
        _timesteps(attributes),
        Fact("damping λ", numbers(attributes, "damping_absolute"), _damping_note(attributes)),
        Fact("effective dimension", numbers(attributes, "effective_dimension"), "Σ w / (w + λ)"),
        Fact("leakage", numbers(attributes, "leakage"), "share of queries' |φ|² out of reach"),
        Fact("transform", _text(attributes, "transform")),
    ]
    return [fact for fact in listed if fact.value]


def _damping_note(attributes: dict[str, Any]) -> str:
    relative = numbers(attributes, "damping_relative")
    asked = _text(attributes, "damping")
    notes = [f"{relative} × mean eigenvalue" if relative else "", f"({asked})" if asked else ""]
    return " ".join(filter(None, notes))


def _left_out(attributes: dict[str, Any], side: str) -> str:
    count = int(attributes.get(f"quarantined_{side}", 0))
    return f"{count:,} of them quarantined" if count else ""


def _timesteps(attributes: dict[str, Any]) -> Fact:
    """Return how many timesteps were averaged over, with the first few and the last."""
    steps = str(attributes.get("timesteps", "")).split(",")
    if not all(step.strip().isdecimal() for step in steps):
        return Fact("timesteps", _text(attributes, "timesteps"))
    listed = steps if len(steps) <= _FEW_TIMESTEPS else [*steps[:3], "…", steps[-1]]
    return Fact("timesteps", f"{len(steps):,}", ", ".join(step.strip() for step in listed))


def numbers(attributes: dict[str, Any], name: str) -> str:
    """Return a number for a reader, or those of all streams of a sum; nothing if there is none."""
    values = attributes.get(f"{name}_of_streams", [attributes.get(name)])
    told = [isinstance(value, int | float) and math.isfinite(value) for value in values]
    return " and ".join(map(unsigned, values)) if all(told) else ""


def _streams(attributes: dict[str, Any]) -> Fact:
    """Return the streams of a sum: what each is multiplied by after what was done to it."""
    names = str(attributes.get("streams", ""))
    if not names:
        return Fact("streams", "")
    columns = (
        str(attributes["weight_of_streams"]).split(","),
        str(attributes["transform_of_streams"]).split(","),
        map(unsigned, attributes["scale_of_streams"]),
    )
    notes = [
        f"{weight} × {'scores' if transform == 'none' else transform} / {scale}"
        for weight, transform, scale in zip(*columns, strict=True)
    ]
    return Fact("streams", names.replace(",", " + "), "; ".join(notes))


def _text(attributes: dict[str, Any], name: str) -> str:
    text = str(attributes.get(name, ""))
    return text if len(text) <= _LONG_VALUE else f"{text[:_LONG_VALUE].rstrip(' ,')}…"
