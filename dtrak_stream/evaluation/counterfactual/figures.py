"""Box plots of the measures, and strips of images side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dtrak_stream.evaluation.counterfactual.queries import Pixels
from dtrak_stream.evaluation.counterfactual.results import CounterfactualResults
from dtrak_stream.support.durable import durable_path

_BOX_INCHES = (3.6, 3.4)
_TILE_INCHES = 0.9
_MOST_STRIPS = 20


def draw_boxes(path: Path, results: CounterfactualResults) -> None:
    """Draw a panel for each measure, with a box for each method: median, quartiles, all points."""
    measures, names = results.measures, [method.name for method in results.methods]
    figure = Figure((_BOX_INCHES[0] * len(measures), _BOX_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, measure in zip(
        figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True
    ):
        values = [method.values[measure].ravel() for method in results.methods]
        axes.boxplot(values, showfliers=False, medianprops={"color": "C3"})
        for place, points in enumerate(values, start=1):
            spread = np.linspace(-0.15, 0.15, len(points))
            axes.plot(place + spread, points, ".", color="0.4", markersize=3)
        axes.set_xticks(range(1, len(names) + 1), names, rotation=20)
        axes.set_ylabel(measure)
    _save(figure, path)


def draw_strips(path: Path, results: CounterfactualResults) -> None:
    """Draw a row for each query: the original, then what every method made of it."""
    columns = {"original": results.originals}
    columns |= {method.name: method.images for method in results.methods}
    rows = min(_MOST_STRIPS, len(results.numbers))
    size = (_TILE_INCHES * len(columns), _TILE_INCHES * rows + 0.3)
    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, (name, images) in enumerate(columns.items()):
        grid[0, column].set_title(name, fontsize="small")
        for row in range(rows):
            _show(grid[row, column], images[row])
    _save(figure, path)


def _show(axes: object, pixels: Pixels) -> None:
    gray = pixels.shape[2] == 1
    shown = pixels[:, :, 0] if gray else pixels
    axes.imshow(shown, cmap="gray" if gray else None, vmin=0, vmax=255)  # type: ignore[attr-defined]
    axes.set_axis_off()  # type: ignore[attr-defined]


def _save(figure: Figure, path: Path) -> None:
    with durable_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
