"""What lies beside an image in a file of its name: a text in `.txt` or `.caption`, or `.json`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from dtrak_stream.data.columns import Column, ColumnKind
from dtrak_stream.data.source import brief
from dtrak_stream.errors import InputError

TEXT_SUFFIXES = (".txt", ".caption")
JSON_SUFFIX = ".json"
SIDECAR_SUFFIXES = (*TEXT_SUFFIXES, JSON_SUFFIX)
"""Endings of files that lie beside an image and are called like it."""
LARGEST_SIDECAR = 2**20

_EITHER_TEXT = " or ".join(TEXT_SUFFIXES)
_CAPTION = "caption"
"""The entry of img2dataset's JSON that is a caption."""


class SidecarFiles(Protocol):
    """The files beside the images of a source."""

    def suffixes(self) -> frozenset[str]:
        """Return those of `SIDECAR_SUFFIXES` that an image has beside it."""

    def contents(self, suffix: str, start: int, stop: int) -> Sequence[bytes | None]:
        """Return the bytes beside images [start, stop), None where there is no such file.

        Raises
        ------
        InputError
            If one cannot be read, or is longer than `LARGEST_SIDECAR`.
        """

    def where(self, suffix: str, row: int) -> str:
        """Return what a message calls the file beside an image."""

    def first(self, suffix: str) -> int:
        """Return the first image that has such a file; there is one."""


class Sidecars:
    """The columns that files beside images make.

    Each ending of texts is a column. Where there are both they are one besides, which is what
    captions are taken from, and the two are read by themselves where they are asked for.
    Of JSON, `.json.KEY` is the entry KEY; `caption` is looked for by itself.

    Parameters
    ----------
    files
        Reads them.
    """

    def __init__(self, files: SidecarFiles) -> None:
        self._files = files

    def columns(self) -> dict[str, Column]:
        """Return the columns by name; one JSON file is read."""
        texts = [suffix for suffix in TEXT_SUFFIXES if suffix in self._files.suffixes()]
        alone: ColumnKind = "text" if len(texts) == 1 else "name"
        found = {suffix: Column(alone, f"sidecar {suffix} files") for suffix in texts}
        if len(texts) > 1:
            found[_EITHER_TEXT] = Column("text", f"sidecar {' and '.join(texts)} files")
        if self._json_has_captions:
            told = f"{_CAPTION} in sidecar {JSON_SUFFIX} files"
            found[f"{JSON_SUFFIX}.{_CAPTION}"] = Column("text", told)
        return found

    def has(self, column: str) -> bool:
        """Return whether it is a column of these."""
        is_entry = column.startswith(f"{JSON_SUFFIX}.") and JSON_SUFFIX in self._files.suffixes()
        return is_entry or column in self.columns()

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        """Return what lies beside images [start, stop), None where there is nothing.

        Raises
        ------
        InputError
            If a file cannot be read, is no text in UTF-8 or no JSON, or an image has two texts
            and they differ.
        """
        if name.startswith(JSON_SUFFIX):
            entry = name.removeprefix(f"{JSON_SUFFIX}.")
            return [None if row is None else row.get(entry) for row in self._parsed(start, stop)]
        if name in TEXT_SUFFIXES:
            return self._texts(name, start, stop)
        texts, captions = (self._texts(suffix, start, stop) for suffix in TEXT_SUFFIXES)
        pairs = zip(texts, captions, strict=True)
        return [self._one_of(*pair, row) for row, pair in enumerate(pairs, start=start)]

    @cached_property
    def _json_has_captions(self) -> bool:
        """Return whether the first JSON is an object with a caption: it may be of anything."""
        if JSON_SUFFIX not in self._files.suffixes():
            return False
        row = self._files.first(JSON_SUFFIX)
        with contextlib.suppress(InputError):
            return _CAPTION in (self._parsed(row, row + 1)[0] or {})
        return False

    def _one_of(self, text: str | None, caption: str | None, row: int) -> str | None:
        if text is not None and caption is not None and text != caption:
            raise InputError(
                f"differs from what {self._files.where(TEXT_SUFFIXES[1], row)} says of the image",
                where=self._files.where(TEXT_SUFFIXES[0], row),
                remedy="remove one of them, or name the ending that is meant, such as "
                f"--caption-column {TEXT_SUFFIXES[1]}",
            )
        return caption if text is None else text

    def _texts(self, suffix: str, start: int, stop: int) -> list[str | None]:
        found = self._files.contents(suffix, start, stop)
        return [
            None if content is None else self._decoded(content, suffix, row).strip()
            for row, content in enumerate(found, start=start)
        ]

    def _parsed(self, start: int, stop: int) -> list[dict[str, Any] | None]:
        found = self._files.contents(JSON_SUFFIX, start, stop)
        rows = enumerate(found, start=start)
        return [None if content is None else self._object(content, row) for row, content in rows]

    def _object(self, content: bytes, row: int) -> dict[str, Any]:
        problem = "is no JSON object"
        try:
            parsed = json.loads(self._decoded(content, JSON_SUFFIX, row))
        except (ValueError, RecursionError) as error:
            parsed, problem = None, f"is not JSON ({brief(error)})"
        if isinstance(parsed, dict):
            return parsed
        raise InputError(
            problem, where=self._files.where(JSON_SUFFIX, row), remedy="write it again"
        )

    def _decoded(self, content: bytes, suffix: str, row: int) -> str:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                "is not UTF-8", where=self._files.where(suffix, row), remedy="save it as UTF-8"
            ) from error
