"""LDS against damping, number of timesteps and projection size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dtrak_stream.errors import InputError
from dtrak_stream.evaluation.lds.ceiling import NoiseCeiling
from dtrak_stream.evaluation.lds.comparison import (
    DampingGroup,
    damping_groups,
    is_rule,
    relative_damping,
    timestep_count,
)
from dtrak_stream.evaluation.lds.judge import Judgement
from dtrak_stream.support.durable import durable_path

RULE_LABEL = "rule-chosen damping, or none"
_PANEL_INCHES = (4.5, 3.6)
_AXES: dict[str, Callable[[Judgement], float | None]] = {
    "damping / mean eigenvalue": relative_damping,
    "number of timesteps K": timestep_count,
    "projection size k": lambda judgement: judgement.attributes.get("proj_dim"),
}


def draw_plot(path: Path, judgements: Sequence[Judgement], ceiling: NoiseCeiling | None) -> None:
    """Draw a panel for each of damping, K and k that differs between the files.

    The bars are 95 % intervals. Over K and k, only files with rule-chosen damping (or none) are
    shown, so that no choice made on this truth enters.

    Raises
    ------
    InputError
        If the files differ in none of them.
    """
    panels = [label for label, value in _AXES.items() if len(_distinct(judgements, value)) > 1]
    if not panels:
        raise InputError(
            "the scores files do not differ in damping, timesteps or projection size",
            where=f"--plot {path}",
            remedy="give scores files that do, or leave --plot out",
        )
    figure = Figure((_PANEL_INCHES[0] * len(panels), _PANEL_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, label in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_panel(axes, label, judgements, ceiling)
    with durable_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)


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
