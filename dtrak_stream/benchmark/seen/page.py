"""The page of the benchmark of what the model saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtrak_stream.benchmark.model_dependence.shares import Share
from dtrak_stream.benchmark.results import table
from dtrak_stream.benchmark.seen.residuals import BY_ITSELF

_NOTHING = "–"
_RESIDUALS = (
    "How often the model is less wrong about an image that it saw than about one that it did not "
    "(area), and the share of the seen ones that is told at 1 % false positives. By itself: the "
    "residual of the defaults. Beside its nearest: over the geometric mean of those of the 20 "
    "images nearest in pixels; gain is what that adds to the area, with the error of pairs."
)
_PROPONENTS = (
    "Which share of the top of each query did its model see? Means over draws, standard errors "
    "over queries and the two models. With held-out images of the same writers two thirds of the "
    "candidates were seen, with others one half."
)
_MEMBERS = (
    "What it costs where the model saw all candidates: LDS x 100 of the digits model over its "
    "1,000 training images, held-out images by other writers. `gain` is the difference from `off` "
    "on the same subsets and queries, with the error of pairs."
)
_NUMBERS = {
    "area": "area reported",
    "unseen_share": "pi at most",
    "truly_unseen_share": "truth",
    "mean": "mean P",
    "mean_seen": "P, seen",
    "mean_unseen": "P, unseen",
    "likely_seen": "P >= .5, seen",
    "likely_unseen": "P >= .5, unseen",
    "positives": "told at 1 %",
}


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title and tables."""
    parts = ["# Did the model see this image?", _about(numbers)]
    parts += ["## Residuals", _RESIDUALS, _residuals(numbers["residuals"])]
    parts += ["## Probabilities", _of_draws(numbers), _probabilities(numbers["probabilities"])]
    parts += ["## Proponents", _PROPONENTS, _proponents(numbers["proponents"])]
    parts += ["## Where all candidates were seen", _MEMBERS, _members(numbers["members"])]
    return "\n\n".join(parts)


def _about(numbers: dict[str, Any]) -> str:
    return (
        f"Two models were trained on the two halves of {numbers['images']:,} digits, by the recipe "
        f"of the digits model, and generated {numbers['generated']} queries each; all "
        f"{numbers['images']:,} are candidates, less those held out. `same writers`: a random half "
        "of what the model did not see is held out. `other writers`: the "
        f"{numbers['others']} digits that follow in the data set are."
    )


def _of_draws(numbers: dict[str, Any]) -> str:
    return (
        f"Means and standard deviations over {numbers['draws']} draws of held-out images; of other "
        "writers there is one. The bound pi is of the share of candidates that the model did not "
        "see. All but P of seen and unseen ones is known to a user, too."
    )


def _residuals(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            f"{row['residuals']}, {row['half']}",
            _measured(row["area"]),
            _NOTHING if row["positives"] is None else _measured(row["positives"]),
            _measured(row["gain"], signed=True),
        ]
        for row in rows
    ]
    return table(["residual, model", "area", "told at 1 %", "gain"], lines)


def _probabilities(rows: Sequence[dict[str, Any]]) -> str:
    headings = ["residual, held-out, model", "draws that tell", *_NUMBERS.values()]
    lines = [
        [
            f"{row['residuals']}, {row['held_out']}, {row['half']}",
            f"{row['telling']} of {row['draws']}",
            *(_spread(row[name]) for name in _NUMBERS),
        ]
        for row in rows
    ]
    return table(headings, lines)


def _proponents(rows: Sequence[dict[str, Any]]) -> str:
    tops = list(rows[0]["top"])
    lines = [
        [
            f"`{row['method']}`, {row['residuals']}, {row['held_out']}, `{row['seen']}`",
            *(_share(row["top"][k]) for k in tops),
        ]
        for row in _told_once(rows)
    ]
    return table(
        ["method, residual, held-out, `--seen`", *(f"top {k}" for k in tops)],
        lines,
    )


def _members(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            f"`{row['method']}`, {row['queries']}, {row['residuals']}, `{row['seen']}`",
            f"{100 * row['lds']:.2f} +- {100 * row['standard_error']:.2f}",
            f"{100 * row['gain']:+.2f} +- {100 * row['gain_error']:.2f}",
        ]
        for row in _told_once(rows)
    ]
    return table(["method, queries, residual, `--seen`", "LDS", "gain"], lines)


def _told_once(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out `off` under the second kind of residual, which it does not depend on."""
    return [row for row in rows if row["seen"] != "off" or row["residuals"] == BY_ITSELF]


def _measured(estimate: Sequence[float], *, signed: bool = False) -> str:
    value, error = estimate
    return f"{value:+.3f} +- {error:.3f}" if signed else f"{value:.3f} +- {error:.3f}"


def _spread(number: dict[str, float | None]) -> str:
    if number["mean"] is None:
        return _NOTHING
    deviation = "" if number["deviation"] is None else f" +- {number['deviation']:.3f}"
    return f"{number['mean']:.3f}{deviation}"


def _share(share: Share | None) -> str:
    return _NOTHING if share is None else f"{share['value']:.3f} +- {share['standard_error']:.3f}"
