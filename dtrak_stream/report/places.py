"""Where a report goes, and how an earlier one is known again.

The page and its grids say that this package made them: the page in its head, with what its scores
are of, and each grid as the software of the picture. Nothing else is replaced or removed.
"""

from __future__ import annotations

import json
from pathlib import Path

from dtrak_stream.support.destinations import FileKind, require_folder

GENERATOR = "dtrak-stream report"
PAGE_NAME = "index.html"
GRID_FOLDER = "grids"
MADE_FROM_NAME = "made_from.json"
GRIDS = "query-*.png"

_HEAD_BYTES = 4096
_MADE_FROM_KEYS = {"options", "files", "report"}


def refuse_other_report(out: Path, *, flag: str, subject: str = "", kept: bool = False) -> None:
    """Refuse a folder where a report would replace something else than a report.

    Parameters
    ----------
    out
        The folder.
    flag
        What the user gave it as.
    subject
        What the scores are of, as `ScoresFile.subject`; empty: a report of any scores may be there.
    kept
        Whether the report that is there is not written again.

    Raises
    ------
    InputError
        Naming what is in the way.
    """
    if not kept:
        require_folder(out, flag=flag)
        require_folder(out / GRID_FOLDER, flag=flag)
    FileKind("the page", GENERATOR, lambda path: _is_page(path, subject)).refuse_other(
        out / PAGE_NAME, flag=flag, kept=kept
    )
    FileKind("the record", GENERATOR, _is_made_from).refuse_other(
        out / MADE_FROM_NAME, flag=flag, kept=kept
    )
    grid = FileKind("a grid", GENERATOR, _is_grid)
    for path in sorted((out / GRID_FOLDER).glob(GRIDS)):
        grid.refuse_other(path, flag=flag, kept=kept)


def _is_page(path: Path, subject: str) -> bool:
    head = _head(path)
    marks = [f'name="generator" content="{GENERATOR}"']
    if subject:
        marks.append(f'name="subject" content="{subject}"')
    return all(mark.encode() in head for mark in marks)


def _is_grid(path: Path) -> bool:
    return GENERATOR.encode() in _head(path)


def _is_made_from(path: Path) -> bool:
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return False
    return isinstance(record, dict) and record.keys() == _MADE_FROM_KEYS


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
