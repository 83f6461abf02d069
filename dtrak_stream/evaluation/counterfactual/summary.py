"""What a counterfactual run came to, as Markdown and as a page with its figures inside."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dtrak_stream.evaluation.counterfactual.queries import Pixels
from dtrak_stream.evaluation.counterfactual.results import CLIP, LOSS, PIXELS, CounterfactualResults
from dtrak_stream.support.durable import durable_path, write_bytes

_MEANINGS = {
    PIXELS: "distance of pixels in [-1, 1] from the original; larger: what was removed mattered",
    CLIP: "cosine of CLIP features with the original's; smaller: what was removed mattered",
    LOSS: "loss of the original after removal less that before; larger: what was removed mattered",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;"
    "text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)
_BOX_INCHES = (3.6, 3.4)
_TILE_INCHES = 0.9
_MOST_STRIPS = 20


def markdown(results: CounterfactualResults) -> str:
    """Return tables of medians and of differences with what the measures mean."""
    tables = [line for rows in _tables(results) for line in [*_table_lines(rows), ""]]
    return "\n".join([_headline(results), "", *tables, *_notes(results)]) + "\n"


def _table_lines(rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def write_page(path: Path, results: CounterfactualResults, figures: list[Path]) -> None:
    """Write a page that stands alone: table, notes and figures."""
    tables = "".join(map(_table_markup, _tables(results)))
    notes = "".join(f"<li>{html.escape(note.removeprefix('- '))}</li>" for note in _notes(results))
    pictures = "".join(_embedded(figure) for figure in figures)
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Counterfactuals</title>"
        f"<style>{_STYLE}</style><h1>Counterfactuals</h1><p>{html.escape(_headline(results))}</p>"
        f"{tables}<ul>{notes}</ul>{pictures}</html>\n"
    )
    write_bytes(path, page.encode())


def _headline(results: CounterfactualResults) -> str:
    return (
        f"{len(results.numbers)} generated images; for each, {results.removed} training images "
        "were removed, the model was trained again, and the image was made again from its seed."
    )


def _tables(results: CounterfactualResults) -> list[list[list[str]]]:
    """Return the rows of each table, headings first; one query tells nothing of differences."""
    tables = [_medians(results)]
    return [*tables, _differences(results)] if len(results.numbers) > 1 else tables


def _medians(results: CounterfactualResults) -> list[list[str]]:
    heading = ["method", *(f"median {name}" for name in results.measures)]
    return [
        heading,
        *(
            [method.name, *(f"{method.median(name):.4g}" for name in results.measures)]
            for method in results.methods
        ),
    ]


def _differences(results: CounterfactualResults) -> list[list[str]]:
    columns = [results.differences(name) for name in results.measures]
    heading = ["difference", *(f"mean {name}" for name in results.measures)]
    return [
        heading,
        *(
            [of_pair[0].name, *(f"{each.mean:.3g} +- {each.error:.2g}" for each in of_pair)]
            for of_pair in zip(*columns, strict=True)
        ),
    ]


def _table_markup(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[1:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _notes(results: CounterfactualResults) -> list[str]:
    repetitions = results.methods[0].values[PIXELS].shape[1]
    notes = [f"- {name}: {_MEANINGS[name]}." for name in results.measures]
    notes.append(f"- random: {repetitions} random removals, each for all queries, pooled.")
    if len(results.numbers) > 1:
        notes.append(
            "- difference: mean over queries, each beside itself, with its standard error over "
            "queries; how random removals differ among each other is not in it."
        )
    return notes


def _embedded(figure: Path) -> str:
    content = base64.b64encode(figure.read_bytes()).decode()
    return f'<p><img alt="{figure.stem}" src="data:image/png;base64,{content}"></p>'


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
