"""Files that cannot say themselves who wrote them: a record beside each says it for them.

Beside FILE lies .FILE.written, which names the command and the job it was written for, and its size
and time of writing. A file without a record, or that was changed or copied since, is taken for the
user's own, and is not replaced.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtrak_stream.support.destinations import FileKind
from dtrak_stream.support.durable import durable_path, target_of, write_json


@dataclass(frozen=True)
class Job:
    """For what a file is written.

    Attributes
    ----------
    command
        The command that writes it.
    subject
        What the file is about: where that is another, the job is.
    """

    command: str
    subject: str

    def kind(self, name: str) -> FileKind:
        """Return the kind of the files that were written for this job, called `name`."""
        return FileKind(name, self.command, self.wrote)

    def wrote(self, path: Path) -> bool:
        """Return whether a file was written for this job, and not touched since."""
        try:
            records = json.loads(record_of(path).read_text())
        except (FileNotFoundError, ValueError):
            return False
        return isinstance(records, list) and self._record(path) in records

    @contextlib.contextmanager
    def file(self, path: Path) -> Iterator[Path]:
        """Hand out a partial path as `durable_path` does; the file has a record at the end."""
        path = target_of(path)
        with durable_path(path) as partial:
            yield partial
            # a renamed file keeps size and time; until then, the one before it is there
            before = [self._record(path)] if path.is_file() and self.wrote(path) else []
            write_json(record_of(path), [self._record(partial), *before])

    def _record(self, path: Path) -> dict[str, Any]:
        status = path.stat()
        return {
            "command": self.command,
            "subject": self.subject,
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
        }


def record_of(path: Path) -> Path:
    """Return the record of a file."""
    return path.with_name(f".{path.name}.written")
