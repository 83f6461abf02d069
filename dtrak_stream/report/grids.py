"""PNG grids: one query with its rows of training images, for papers and slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

from dtrak_stream.report.cards import Card, Entry, Row
from dtrak_stream.report.tiles import Tile, enlarge

TILE = 128
QUERY = 256
_GAP = 12
_MARGIN = 24
_HEADING = 28
_CAPTION = 40
_BAND = _HEADING + TILE + _CAPTION

_PAPER = "#ffffff"
_INK = "#1b1e24"
_MUTED = "#6a707c"
_EMPTY = "#e9e9ec"
_COLOURS = {"high": "#1d5fd1", "low": "#c4540a", "least": "#6a707c"}


@dataclass(frozen=True)
class _Box:
    """A square of the sheet."""

    left: int
    top: int
    side: int


def grid_size(columns: int, rows: int) -> tuple[int, int]:
    """Return the width and height in pixels of a grid of so many training images."""
    width = 2 * _MARGIN + QUERY + 2 * _GAP + columns * (TILE + _GAP)
    return width, 2 * _MARGIN + max(rows * _BAND, _HEADING + QUERY + _CAPTION)


def draw_grid(card: Card, columns: int) -> Image.Image:
    """Draw a query on the left and its rows of training images on the right.

    Parameters
    ----------
    card
        The query and its rows.
    columns
        Images in a full row; a shorter row leaves its places empty.
    """
    sheet = Image.new("RGB", grid_size(columns, len(card.rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_query(sheet, draw, card)
    for number, row in enumerate(card.rows):
        _draw_row(sheet, draw, row, _MARGIN + number * _BAND)
    return sheet


def _draw_query(sheet: Image.Image, draw: ImageDraw.ImageDraw, card: Card) -> None:
    _write(draw, (_MARGIN, _MARGIN), f"query {card.number}", QUERY, size=16, bold=True)
    box = _Box(_MARGIN, _MARGIN + _HEADING, QUERY)
    _draw_tile(sheet, draw, card.tile, box)
    below = (_MARGIN, box.top + QUERY + 6)
    _write(draw, below, card.tile.sample_id, QUERY, size=13, colour=_MUTED)


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    left = _MARGIN + QUERY + 3 * _GAP
    colour = _COLOURS[row.kind]
    _write(draw, (left, top), row.label, 4 * TILE, size=16, bold=True, colour=colour)
    for place, entry in enumerate(row.entries):
        _draw_entry(sheet, draw, entry, (left + place * (TILE + _GAP), top + _HEADING))


def _draw_entry(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, entry: Entry, corner: tuple[int, int]
) -> None:
    left, top = corner
    _draw_tile(sheet, draw, entry.tile, _Box(left, top, TILE))
    score = f"{entry.rank}   {entry.score_text}"
    colour = _COLOURS[entry.kind]
    _write(draw, (left, top + TILE + 3), score, TILE, size=14, bold=True, colour=colour)
    _write(draw, (left, top + TILE + 20), entry.tile.sample_id, TILE, size=11, colour=_MUTED)


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, box: _Box) -> None:
    if tile.picture is None:
        corner = (box.left + box.side - 1, box.top + box.side - 1)
        draw.rectangle(((box.left, box.top), corner), fill=_EMPTY)
        _write_paragraph(draw, tile.reason, box)
        return
    picture = enlarge(tile.picture, box.side)
    left = box.left + (box.side - picture.width) // 2
    sheet.paste(picture, (left, box.top + (box.side - picture.height) // 2))


def _write_paragraph(draw: ImageDraw.ImageDraw, text: str, box: _Box) -> None:
    words = f"no picture: {text}".split()
    lines: Sequence[str] = _filled(words, box.side - 16)
    for number, line in enumerate(lines[: (box.side - 16) // 15]):
        place = (box.left + 8, box.top + 8 + 15 * number)
        _write(draw, place, line, box.side - 16, size=11, colour=_MUTED)


def _filled(words: Sequence[str], width: int) -> list[str]:
    """Break words into lines that fit `width` pixels."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font(11, bold=False).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    width: int,
    *,
    size: int,
    bold: bool = False,
    colour: str = _INK,
) -> None:
    """Write one line, shortened in its middle until it fits `width` pixels."""
    font = _font(size, bold=bold)
    draw.text(place, _shortened(text, font, width), fill=colour, font=font)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    kept = len(text)
    shown = text
    while kept > 1 and font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept // 3]}…{text[len(text) - (kept - kept // 3) :]}"
    return shown


@lru_cache
def _font(size: int, *, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, size)
