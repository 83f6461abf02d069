"""What a folder was begun with: a file of JSON, written first and compared at every restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dtrak_stream.errors import CorruptFileError, refuse_differences
from dtrak_stream.support.claims import alone_with
from dtrak_stream.support.durable import write_json

Record: TypeAlias = dict[str, Any]
"""Name to value, as JSON can hold them."""


@dataclass(frozen=True)
class RecordKind:
    """The record of one kind of folder.

    Attributes
    ----------
    otherwise
        What is said of a file that is no such record.
    if_unreadable
        What to do where the record is not what was written.
    if_another
        What to do where it is a record of something else.
    """

    otherwise: str
    if_unreadable: str
    if_another: str

    def read(self, path: Path) -> Record | None:
        """Return a record; None if nothing was begun there.

        Raises
        ------
        CorruptFileError
            If the file is not the JSON that was written.
        """
        if not path.is_file():
            return None
        try:
            stored = json.loads(path.read_text())
        except ValueError as error:
            raise self._unreadable(path, f"not readable as JSON ({error})") from error
        if not isinstance(stored, dict):
            raise self._unreadable(path, self.otherwise)
        return stored

    def begin(self, path: Path, facts: Mapping[str, Any], *, where: object = None) -> None:
        """Write a record; of several processes at once, the first one's stays.

        Parameters
        ----------
        path
            The file.
        facts
            What is begun.
        where
            What refusals call it; the file unless told otherwise.

        Raises
        ------
        FingerprintMismatchError
            If there is one of something else, from before or from another process just now.
        CorruptFileError
            As `read`.
        """
        if self.read(path) is None:
            with alone_with(path):
                if self.read(path) is None:
                    write_json(path, facts)
        self.refuse_other(self.read(path) or {}, facts, where=where or path)

    def refuse_other(
        self, stored: Mapping[str, Any], requested: Mapping[str, Any], *, where: object
    ) -> None:
        """Refuse to go on with what was begun as `stored` as `requested`.

        Raises
        ------
        FingerprintMismatchError
            Naming the first field that differs, in the order of those requested, and both values.
        """
        requested = json.loads(json.dumps(requested))
        names = [*requested, *(name for name in stored if name not in requested)]
        refuse_differences(
            ((name, stored.get(name), requested.get(name)) for name in names),
            where=where,
            remedy=self.if_another,
        )

    def _unreadable(self, path: Path, what: str) -> CorruptFileError:
        return CorruptFileError(what, where=path, remedy=self.if_unreadable)
