"""Columns beside the images of a Hugging Face data set: texts, classes, numbers and structures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets

from dtrak_stream.data.columns import Column, ColumnKind, entry_of
from dtrak_stream.data.tar_files import KEY_COLUMN, URL_COLUMN
from dtrak_stream.errors import InputError

_NAMES = {KEY_COLUMN, URL_COLUMN, "file_name", "filename", "path", "url"}
_TEXT_FILES = {"txt", "text", "caption", "prompt"}
_NUMBER_FILES = {"cls", "label", "class"}
_JSON = "json"


class DatasetColumns:
    """The columns of a data set but its images.

    What a tar file holds beside an image is bytes: its ending says what of, and entry `b` of the
    JSON in column `a` is the column `a.b`, as is that of a structure.

    Parameters
    ----------
    rows
        The data set, unformatted.
    images
        The column of its images.
    """

    def __init__(self, rows: datasets.Dataset, images: str) -> None:
        self._rows = rows
        self._images = images
        self._cells: dict[str, datasets.Dataset] = {}

    def columns(self) -> dict[str, Column]:
        """Return the columns by name; of JSON, the entries that the first row has."""
        found: dict[str, Column] = {}
        for name, feature in self._rows.features.items():
            if name != self._images:
                found[name] = _column(name, feature)
                found |= dict(self._entries(name, feature))
        return found

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return rows [start, stop) of a column; classes by their names."""
        features = self._rows.features
        outer, _, inner = (name, "", "") if name in features else name.partition(".")
        if outer not in features:
            raise InputError(
                f"there is no such column; it has {', '.join(features)}",
                where=f"column {name}",
                remedy="name one of them",
            )
        found = self._column(outer)[start:stop][outer]
        if inner:
            return [entry_of(cell, inner) for cell in found]
        named = getattr(features[outer], "int2str", None)
        if named is None:
            return list(found)
        return [None if label is None or label < 0 else named(label) for label in found]

    def _column(self, name: str) -> datasets.Dataset:
        if name not in self._cells:
            self._cells[name] = self._rows.select_columns([name])
        return self._cells[name]

    def _entries(self, name: str, feature: object) -> Iterator[tuple[str, Column]]:
        if isinstance(feature, Mapping):
            for inner, kind in feature.items():
                yield f"{name}.{inner}", _column(inner, kind)
        elif name == _JSON and len(self._rows):
            for inner, value in _parsed(self._column(name)[0][name]).items():
                yield f"{name}.{inner}", Column(_kind_of_value(inner, value))


def _column(name: str, feature: object) -> Column:
    if isinstance(feature, datasets.ClassLabel):
        return Column("class", classes=tuple(feature.names))
    if isinstance(feature, datasets.Value):
        return Column(_kind(name, feature.dtype))
    return Column("other")


def _kind(name: str, dtype: str) -> ColumnKind:
    if dtype in ("string", "large_string"):
        return "name" if name in _NAMES else "text"
    if dtype.startswith(("int", "uint")):
        return "number"
    if dtype not in ("binary", "large_binary"):
        return "other"
    return "text" if name in _TEXT_FILES else "number" if name in _NUMBER_FILES else "other"


def _parsed(cell: Any) -> dict[str, Any]:
    with contextlib.suppress(ValueError, TypeError):
        parsed = json.loads(cell)
        return parsed if isinstance(parsed, dict) else {}
    return {}


def _kind_of_value(name: str, value: object) -> ColumnKind:
    if isinstance(value, str):
        return "name" if name in _NAMES else "text"
    if value is None and name in _TEXT_FILES:  # img2dataset writes null for a missing caption
        return "text"
    return "number" if isinstance(value, int) and not isinstance(value, bool) else "other"
