"""What an LDS run prints and writes: report, JSON, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dtrak_stream.errors import InputError
from dtrak_stream.evaluation.lds.comparison import (
    DampingGroup,
    damping_groups,
    described,
    is_rule,
    relative_damping,
    timestep_count,
)
from dtrak_stream.evaluation.lds.estimate import LdsEstimate, NoiseCeiling
from dtrak_stream.evaluation.lds.judge import Judge, Judgement
from dtrak_stream.support.table_cells import cell_of

RULE = "rule-chosen damping"
ORACLE = "oracle damping (best on this truth)"
RULE_LABEL = "rule-chosen damping, or none"
_PANEL_INCHES = (4.5, 3.6)
_AXES: dict[str, Callable[[Judgement], float | None]] = {
    "damping / mean eigenvalue": relative_damping,
    "number of timesteps K": timestep_count,
    "projection size k": lambda judgement: judgement.attributes.get("proj_dim"),
}


def report(
    judge: Judge, judgements: Sequence[Judgement], ceiling: NoiseCeiling | None
) -> list[str]:
    """Return the lines for the user; the last is the LDS x 100 of the first file."""
    subsets = judge.subsets
    lines = [
        f"{judge.truth.path} [{judge.key}]: {len(judge.losses)} subsets "
        f"({subsets.start} to {subsets.stop - 1}), {int(judge.known.sum())} queries; LDS x 100"
    ]
    if ceiling is not None:
        lines.append(_ceiling_line(ceiling))
    for judgement in judgements:
        lines += _file_lines(judgement, ceiling)
    lines += _damping_lines(judgements)
    first = judgements[0].estimate
    lines.append(f"LDS {100 * first.value:.2f} +- {100 * first.standard_error:.2f}")
    return lines


def numbers(
    judge: Judge, judgements: Sequence[Judgement], ceiling: NoiseCeiling | None
) -> dict[str, Any]:
    """Return every number, as fractions, for JSON."""
    return {
        "truth": str(judge.truth.path),
        "loss_key": judge.key,
        "subsets": [judge.subsets.start, judge.subsets.stop],
        "noise_ceiling": ceiling
        and {
            "seeds": ceiling.seeds,
            "repeated_subsets": ceiling.subsets,
            "seed_agreement": ceiling.agreement,
            "reliability": ceiling.reliability,
            "ceiling": ceiling.ceiling,
        },
        "lds": judgements[0].estimate.value,
        "standard_error": judgements[0].estimate.standard_error,
        "files": [_file_numbers(judgement) for judgement in judgements],
        "damping": [
            {
                "recipe": group.name,
                RULE: group.rule and estimate_numbers(group.rule.estimate),
                "rules": {
                    str(each.attributes["damping"]): estimate_numbers(each.estimate)
                    for each in group.rules
                },
                ORACLE: estimate_numbers(group.oracle.estimate),
                "oracle_damping_relative": relative_damping(group.oracle),
                "dampings_tried": len(group.members),
            }
            for group in damping_groups(judgements)
        ],
    }


def per_query_table(
    judge: Judge, judgements: Sequence[Judgement], ceiling: NoiseCeiling | None
) -> str:
    """Return the value of each query as CSV; empty where it does not count."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    agreement = ["seed agreement"] if ceiling is not None else []
    titles = (cell_of(judgement.name) for judgement in judgements)
    table.writerow(["query", "query_id", *titles, *agreement])
    columns = [_spread(j.used, j.estimate.per_query) for j in judgements]
    if ceiling is not None:
        columns.append(_spread(judge.known, ceiling.per_query))
    names = judge.truth.query_ids(judge.key) or [""] * len(judge.chosen)
    for query in np.flatnonzero(judge.chosen):
        cells = ["" if np.isnan(column[query]) else repr(column[query]) for column in columns]
        table.writerow([int(query), cell_of(names[query]), *cells])
    return text.getvalue()


def _spread(used: Any, values: Any) -> list[float]:
    """Return a value for every query, NaN for those that are not used."""
    whole = np.full(len(used), np.nan)
    whole[used] = values
    return [float(value) for value in whole]


def _ceiling_line(ceiling: NoiseCeiling) -> str:
    return (
        f"noise ceiling {100 * ceiling.ceiling:.1f}: the losses of two seeds agree with a "
        f"Spearman of {ceiling.agreement:.3f} over {ceiling.subsets} subsets, means over as many "
        f"seeds as there are, up to {ceiling.seeds}, with {ceiling.reliability:.3f}"
    )


def _file_lines(judgement: Judgement, ceiling: NoiseCeiling | None) -> list[str]:
    estimate = judgement.estimate
    share = (
        f"; {estimate.value / ceiling.ceiling:.0%} of the ceiling"
        if ceiling is not None and ceiling.ceiling > 0
        else ""
    )
    damping = relative_damping(judgement)
    kind = RULE if is_rule(judgement.attributes.get("damping")) else "given damping"
    chosen = "" if damping is None else f"; {kind} {damping:.4g} of the mean eigenvalue"
    lines = [
        f"{judgement.name} ({described(judgement)}{chosen}):",
        f"  {100 * estimate.value:.2f} +- {100 * estimate.standard_error:.2f}, 95 % interval "
        f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f}{share}; bootstrap over subsets as "
        f"in D-TRAK {100 * estimate.bootstrap_mean:.2f} +- {100 * estimate.bootstrap_std:.2f}",
    ]
    notes = [f"{count} {what}" for what, count in judgement.notes.items() if count]
    if judgement.reordered:
        notes.append("samples brought into the truth file's order by name")
    return [*lines, "  " + "; ".join(notes)]


def _damping_lines(judgements: Sequence[Judgement]) -> list[str]:
    groups = damping_groups(judgements)
    if len(judgements) < 2 or not groups:
        return []
    lines = ["", f"| recipe | {RULE} | {ORACLE} |", "|---|---|---|"]
    for group in groups:
        rule = "not given"
        if group.rules:
            rule = ", ".join(_rule_cell(each) for each in group.rules)
        oracle = (
            f"{100 * group.oracle.estimate.value:.2f} at {relative_damping(group.oracle):.4g}, "
            f"best of {len(group.members)}"
        )
        lines.append(f"| {group.name} | {rule} | {oracle} |")
    return [*lines, ""]


def _rule_cell(judgement: Judgement) -> str:
    return f"{100 * judgement.estimate.value:.2f} ({judgement.attributes['damping']})"


def _file_numbers(judgement: Judgement) -> dict[str, Any]:
    damping = judgement.attributes.get("damping")
    return {
        "scores": judgement.name,
        "recipe": described(judgement),
        "damping": damping,
        "damping_is_rule_chosen": damping is not None and is_rule(damping),
        "damping_relative": relative_damping(judgement),
        "timesteps": timestep_count(judgement),
        "proj_dim": judgement.attributes.get("proj_dim"),
        "reordered": judgement.reordered,
        **estimate_numbers(judgement.estimate),
        "counts": judgement.notes,
    }


def estimate_numbers(estimate: LdsEstimate) -> dict[str, float]:
    """Return an estimate without its values for each query, as fractions."""
    return {
        "lds": estimate.value,
        "standard_error": estimate.standard_error,
        "interval_low": estimate.low,
        "interval_high": estimate.high,
        "bootstrap_mean": estimate.bootstrap_mean,
        "bootstrap_std": estimate.bootstrap_std,
    }


def draw_plot(
    path: Path, judgements: Sequence[Judgement], ceiling: NoiseCeiling | None, *, flag: str
) -> None:
    """Draw a panel for each of damping, K and k that differs between the files.

    The bars are 95 % intervals. Over K and k, only files with rule-chosen damping (or none) are
    shown, so that no choice made on this truth enters.

    Parameters
    ----------
    path
        Where the PNG goes.
    judgements, ceiling
        What is drawn.
    flag
        What the user asked for it by.

    Raises
    ------
    InputError
        If the files differ in none of them.
    """
    panels = [label for label, value in _AXES.items() if len(_distinct(judgements, value)) > 1]
    if not panels:
        raise InputError(
            "the scores files do not differ in damping, timesteps or projection size",
            where=flag,
            remedy="give scores files that do, or leave --plot out",
        )
    figure = Figure((_PANEL_INCHES[0] * len(panels), _PANEL_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, label in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_panel(axes, label, judgements, ceiling)
    figure.savefig(path, format="png", dpi=150)


def _draw_panel(
    axes: Axes, label: str, judgements: Sequence[Judgement], ceiling: NoiseCeiling | None
) -> None:
    value = _AXES[label]
    if value is relative_damping:
        for group in damping_groups(judgements):
            _draw_damping(axes, group)
    else:
        shown = [j for j in judgements if is_rule(j.attributes.get("damping"))]
        _draw_line(axes, shown, value, RULE_LABEL)
    if ceiling is not None:
        axes.axhline(100 * ceiling.ceiling, color="0.5", linestyle=":", label="noise ceiling")
    axes.set(xscale="log", xlabel=label, ylabel="LDS x 100")
    axes.legend(fontsize="x-small")


def _draw_damping(axes: Axes, group: DampingGroup) -> None:
    _draw_line(axes, group.members, relative_damping, group.name)
    place = relative_damping(group.rule) if group.rule is not None else None
    if group.rule is not None and place is not None:
        axes.plot([place], [100 * group.rule.estimate.value], "k*", zorder=3, label="rule-chosen")


def _draw_line(
    axes: Axes,
    judgements: Sequence[Judgement],
    value: Callable[[Judgement], float | None],
    label: str,
) -> None:
    known = sorted(
        (place, 100 * j.estimate.value, 100 * (j.estimate.high - j.estimate.low) / 2)
        for j in judgements
        if (place := value(j))
    )
    if known:
        places, values, reach = zip(*known, strict=True)
        axes.errorbar(places, values, yerr=reach, marker="o", capsize=2, label=label)


def _distinct(
    judgements: Sequence[Judgement], value: Callable[[Judgement], float | None]
) -> set[float]:
    return {place for j in judgements if (place := value(j))}
