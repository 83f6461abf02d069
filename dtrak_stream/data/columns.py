"""What lies beside the images of a source, in columns: captions, labels, groups.

A source takes part by its methods `columns` and `column`, see `Source`: the first says what there
is, the second returns some rows of one. Whoever asks for a caption, a label or a group goes by
these two alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeGuard

import numpy as np

from dtrak_stream.errors import InputError

ColumnKind: TypeAlias = Literal["text", "number", "class", "name", "other"]
FOLDER_COLUMN = "folder"
"""The folder that an image lies in, relative to its source."""


@dataclass(frozen=True)
class Column:
    """What is known of a column before it is read.

    Attributes
    ----------
    kind
        text; whole numbers; classes that have names; a name of the image itself, of its file or
        folder (never taken for a caption, nor for a label but where it is asked for); or other.
    told
        What a line calls it, such as "column text of metadata.jsonl"; empty for its name.
    classes
        Of classes, their names in the order of their numbers.
    """

    kind: ColumnKind
    told: str = ""
    classes: tuple[str, ...] = ()


ArrayForms: TypeAlias = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and type of arrays, by their names."""


class ArraysBeside:
    """Arrays in the file of an array of images; nothing is read before it is asked for.

    Parameters
    ----------
    look
        Returns which arrays there are.
    opened
        Returns an array by its name.
    """

    def __init__(self, look: Callable[[], ArrayForms], opened: Callable[[str], Any]) -> None:
        self._look = look
        self._open = opened
        self._opened: dict[str, Any] = {}

    @cached_property
    def _forms(self) -> ArrayForms:
        return self._look()

    def columns(self, count: int) -> dict[str, Column]:
        """Return the arrays; those without one entry for each of `count` images are other."""
        return {
            name: Column(_kind_of(dtype) if shape == (count,) else "other", f"array {name}")
            for name, (shape, dtype) in self._forms.items()
        }

    def column(self, name: str, start: int, stop: int, count: int) -> Sequence[Any]:
        """Return entries [start, stop) of an array that should have one for each image."""
        if name not in self._opened:
            self._opened[name] = self._with_entries(name, count)
        return list(self._opened[name][start:stop])

    def _with_entries(self, name: str, count: int) -> Any:
        if name not in self._forms:
            raise InputError(
                f"no array {name!r}; it has {', '.join(self._forms)}",
                where=f"column {name}",
                remedy="name an array that is in the file",
            )
        shape, _ = self._forms[name]
        if shape != (count,):
            raise InputError(
                f"has shape {shape}, and there are {count} images",
                where=f"column {name}",
                remedy="name an array with one entry an image",
            )
        return self._open(name)


def _kind_of(dtype: np.dtype[Any]) -> ColumnKind:
    if dtype.kind in "iu":
        return "number"
    return "text" if dtype.kind in "USO" else "other"  # HDF5 has texts of any length as objects


def folders_of(column: str, paths: Sequence[str]) -> list[str]:
    """Return the folders of paths, with `/`, as the only column of what has paths alone.

    Raises
    ------
    InputError
        If another column is asked for.
    """
    if column != FOLDER_COLUMN:
        raise InputError(
            f"there is no such column; it has {FOLDER_COLUMN}",
            where=f"column {column}",
            remedy="name one of them",
        )
    return [posixpath.dirname(path) or "." for path in paths]


def entry_of(cell: Any, name: str) -> Any:
    """Return entry `name` of a structure, which may be JSON as bytes; None of None.

    Raises
    ------
    InputError
        If there is no such entry.
    """
    if cell is None:
        return None
    if isinstance(cell, bytes):  # as it lies in a tar file
        with contextlib.suppress(ValueError):
            cell = json.loads(cell)
    if not isinstance(cell, dict) or name not in cell:
        there = f"; it has {', '.join(cell)}" if isinstance(cell, dict) else ""
        raise InputError(
            f"there is no entry {name!r}{there}",
            where=f"entry {name}",
            remedy="name one that is there",
        )
    return cell[name]


def as_label(value: Any) -> str | None:
    """Return a value as a label: text, or a whole number as text; None for nothing.

    Raises
    ------
    ValueError
        Naming the kind of value, if it is neither.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode()  # UnicodeDecodeError is a ValueError
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise ValueError(f"{value!r}" if isinstance(value, float) else f"a {type(value).__name__}")
    text = str(value)
    if not _has_utf8(text):
        raise ValueError(repr(text))
    return text.strip() or None


def is_path(value: object) -> TypeGuard[str]:
    """Return whether a value can be the path of a file."""
    return isinstance(value, str) and bool(value) and "\0" not in value and _has_utf8(value)


def _has_utf8(text: str) -> bool:
    """Return whether UTF-8 can spell a text: JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(value: Any) -> str:
    """Return a value as a condition `COLUMN=VALUE` spells it; nothing is the empty text."""
    try:
        return as_label(value) or ""
    except ValueError:
        return str(value)
