"""Histograms of scores as inline SVG that takes its colours from the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

_BINS = 60
_POINTS_PER_INCH = 72
# Matplotlib draws in these stand-ins; the page's custom properties take their place, so that a
# histogram follows the reader's light or dark colour scheme.
_BARS, _RULES, _WORDS = "#fe0001", "#fe0002", "#fe0003"
_MARKS = {"high": "#fe0004", "low": "#fe0005", "least": "#fe0006"}
_PROPERTIES = {
    _BARS: "var(--bars)",
    _RULES: "var(--rule)",
    _WORDS: "var(--muted)",
    **{stand_in: f"var(--{kind})" for kind, stand_in in _MARKS.items()},
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_MINUS = "\N{MINUS SIGN}"
_DIGITS = 3


@dataclass(frozen=True)
class Histogram:
    """Counts of scores in bins of equal width."""

    counts: NDArray[np.int64]
    """Number of scores in each bin, (B,)."""
    edges: NDArray[np.float64]
    """Bounds of the bins, (B + 1,)."""
    outside: int
    """Number of scores in none of them."""


@dataclass(frozen=True)
class Frame:
    """Size of a histogram's drawing, in points, and of the words in it."""

    width: float
    """Width of the drawing."""
    height: float
    """Height of the drawing."""
    words: float
    """Size of the words."""


QUERY_FRAME = Frame(width=188, height=92, words=9.5)
OVERALL_FRAME = Frame(width=540, height=340, words=12)


def count_scores(blocks: Iterable[NDArray[np.float32]], low: float, high: float) -> Histogram:
    """Count scores in bins that span [low, high], block by block; NaN is passed over."""
    edges = _edges(low, high)
    counts = np.zeros(_BINS, dtype=np.int64)
    total = 0
    for block in blocks:
        finite = block[np.isfinite(block)]
        counts += np.histogram(finite, edges)[0]
        total += finite.size
    return Histogram(counts, edges, outside=total - int(counts.sum()))


def draw_histogram(
    histogram: Histogram,
    frame: Frame,
    *,
    name: str,
    marks: Mapping[str, Sequence[float]] | None = None,
) -> Markup:
    """Draw a histogram with a logarithmic count axis as an `<svg>` element.

    Parameters
    ----------
    histogram
        What to draw.
    frame
        How large.
    name
        Keeps the ids inside this drawing apart from those of others on the same page.
    marks
        Scores to mark below the bars, by the kind of row they are shown in: `high`, `low` or
        `least`.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = Figure(figsize=(frame.width / _POINTS_PER_INCH, frame.height / _POINTS_PER_INCH))
        FigureCanvasSVG(figure)
        axes = figure.add_axes(_inside(frame))
        _draw_bars(axes, histogram)
        for kind, scores in (marks or {}).items():
            _draw_marks(axes, scores, _MARKS[kind])
        _draw_scales(axes, frame.words)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    return _inline(buffer.getvalue())


def _edges(low: float, high: float) -> NDArray[np.float64]:
    if not high > low:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    edges: NDArray[np.float64] = np.linspace(low, high, _BINS + 1)
    return edges


def _inside(frame: Frame) -> tuple[float, float, float, float]:
    left, right = 3.2 * frame.words, 1.4 * frame.words
    bottom, top = 3.1 * frame.words, 0.7 * frame.words
    width = (frame.width - left - right) / frame.width
    height = (frame.height - bottom - top) / frame.height
    return left / frame.width, bottom / frame.height, width, height


def _draw_bars(axes: Axes, histogram: Histogram) -> None:
    axes.set_yscale("log")
    axes.stairs(
        np.maximum(histogram.counts, 0.5), histogram.edges, baseline=0.5, fill=True, color=_BARS
    )
    axes.set_ylim(0.5, max(10.0, 1.3 * float(histogram.counts.max())))
    axes.set_xlim(float(histogram.edges[0]), float(histogram.edges[-1]))
    if histogram.edges[0] < 0 < histogram.edges[-1]:
        axes.axvline(0, color=_WORDS, linewidth=0.7, linestyle=(0, (2, 2)))


def _draw_marks(axes: Axes, scores: Sequence[float], colour: str) -> None:
    axes.vlines(
        scores,
        -0.13,
        -0.02,
        transform=axes.get_xaxis_transform(),
        color=colour,
        linewidth=1.3,
        clip_on=False,
    )


def _draw_scales(axes: Axes, words: float) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _thousands(value)))
    axes.tick_params(labelsize=words, labelcolor=_WORDS, length=0)
    axes.tick_params(axis="x", pad=1.1 * words)
    axes.tick_params(axis="y", pad=0.3 * words)
    axes.yaxis.grid(visible=True, color=_RULES, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(_WORDS)
    axes.spines["bottom"].set_linewidth(0.7)


def _thousands(count: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return f"{count:g}"


def _inline(document: str) -> Markup:
    """Turn an SVG document into an element of an HTML page."""
    text = document[document.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    # Groups are named alike in every drawing, and ids must be unique on a page.
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r'<svg width="[^"]*" height="[^"]*"', '<svg role="img"', text)
    text = re.sub(r"\s*\n\s*", " ", text)
    for stand_in, custom_property in _PROPERTIES.items():
        text = text.replace(stand_in, custom_property)
    return Markup(text)


def signed(value: float) -> str:
    """Return a score such as `+0.0123`, `−45.6` or `+1.23e−7`."""
    text = unsigned(value)
    return text if value <= 0 or not math.isfinite(value) else f"+{text}"


def unsigned(value: float) -> str:
    """Return a number such as `0.0123`, `12,345` or `1.23e−7`; NaN and infinity are a dash."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    exponent = int(f"{value:.{_DIGITS - 1}e}".partition("e")[2])
    if -4 <= exponent < 6:
        return f"{value:,.{max(0, _DIGITS - 1 - exponent)}f}".replace("-", _MINUS)
    mantissa = f"{value:.{_DIGITS - 1}e}".partition("e")[0]
    return f"{mantissa}e{exponent}".replace("-", _MINUS)


def short(value: float) -> str:
    """Return a number with no digits it does not need, for the ticks of an axis."""
    text = f"{value:,.6g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return text.replace("-", _MINUS)
