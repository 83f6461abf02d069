"""What a counterfactual run came to, as Markdown and as a page with its figures inside."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from dtrak_stream.evaluation.counterfactual.results import CLIP, LOSS, PIXELS, CounterfactualResults
from dtrak_stream.support.durable import write_bytes

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


def markdown(results: CounterfactualResults) -> str:
    """Return a table of medians with what the measures mean."""
    rows = [["method", *(f"median {name}" for name in results.measures)]]
    rows += _rows(results)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join([_headline(results), "", *lines, "", *_notes(results)]) + "\n"


def write_page(path: Path, results: CounterfactualResults, figures: list[Path]) -> None:
    """Write a page that stands alone: table, notes and figures."""
    head = "".join(f"<th>median {html.escape(name)}</th>" for name in results.measures)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(results)
    )
    notes = "".join(f"<li>{html.escape(note.removeprefix('- '))}</li>" for note in _notes(results))
    pictures = "".join(_embedded(figure) for figure in figures)
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Counterfactuals</title>"
        f"<style>{_STYLE}</style><h1>Counterfactuals</h1><p>{html.escape(_headline(results))}</p>"
        f"<table><tr><th>method</th>{head}</tr>{body}</table><ul>{notes}</ul>{pictures}</html>\n"
    )
    write_bytes(path, page.encode())


def _headline(results: CounterfactualResults) -> str:
    return (
        f"{len(results.numbers)} generated images; for each, {results.removed} training images "
        "were removed, the model was trained again, and the image was made again from its seed."
    )


def _rows(results: CounterfactualResults) -> list[list[str]]:
    return [
        [method.name, *(f"{method.median(name):.4g}" for name in results.measures)]
        for method in results.methods
    ]


def _notes(results: CounterfactualResults) -> list[str]:
    repetitions = results.methods[0].values[PIXELS].shape[1]
    notes = [f"- {name}: {_MEANINGS[name]}." for name in results.measures]
    return [*notes, f"- random: {repetitions} random removals, each for all queries, pooled."]


def _embedded(figure: Path) -> str:
    content = base64.b64encode(figure.read_bytes()).decode()
    return f'<p><img alt="{figure.stem}" src="data:image/png;base64,{content}"></p>'
