"""What other programs can watch of a run: a file of one line, and a log in JSON.

The status file holds one line, replaced as a whole:

    2026-11-26T22:14:03Z dtrak-stream featurize running: featurizing: 320/1,000 img, 56.1 img/s, ...

The log grows by a JSON object a line. Each has `time` (UTC), `level` (info, warning or error) and
`event`: `begin` (command, version, process), `remark` (message), `progress` (stage, done, total,
unit, per_second, seconds_left, note) and `end` (outcome, exit_code, message). A line that a killed
process left half is ended before the next.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from dtrak_stream.support.destinations import FileKind
from dtrak_stream.support.durable import remove_partials_of, target_of
from dtrak_stream.support.progress import Bar
from dtrak_stream.support.shown_file import ShownFile

Outcome: TypeAlias = Literal["done", "quarantined", "refused", "interrupted", "failed"]

_LEVELS: dict[Outcome, str] = {
    "done": "info",
    "quarantined": "warning",
    "refused": "error",
    "interrupted": "warning",
    "failed": "error",
}
_BETWEEN_STATUS = 1.0  # seconds
_BETWEEN_LOGGED = 10.0  # seconds, of one stage
_MOST_BYTES = 65536  # of a status file
_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ dtrak-stream [\w -]+ "
    rf"({'|'.join(('running', *_LEVELS))}): [^\n]*\n"
)


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes
    ----------
    outcome
        In a word.
    exit_code
        What the shell is told.
    message
        What was said last: where the result is, or what went wrong.
    """

    outcome: Outcome
    exit_code: int
    message: str


class StatusFile:
    """The file of one line that tells how far a run is, and in the end how it ended.

    Parameters
    ----------
    path
        Where it is; a status file that is there is replaced.
    command
        Which command runs.
    """

    def __init__(self, path: Path, command: str) -> None:
        self._file, self._command = ShownFile(path), command
        self._written = time.monotonic()
        remove_partials_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write("running", "begun")

    def advanced(self, stages: Sequence[Bar]) -> None:
        """Tell how far all stages are, each within the one before."""
        if time.monotonic() - self._written >= _BETWEEN_STATUS:
            self._write("running", " > ".join(str(stage.standing()) for stage in stages))

    def said(self, line: str) -> None:
        """Tell nothing: a line says not how far the run is."""

    def ended(self, ending: Ending) -> None:
        """Tell how the run ended."""
        self._write(ending.outcome, ending.message)
        self._file.close()

    def _write(self, state: str, told: str) -> None:
        words = " ".join(told.split())
        self._file.show(f"{_now()} dtrak-stream {self._command} {state}: {words}\n")
        self._written = time.monotonic()


class JsonLog:
    """The log of JSON lines, which goes on at the end of one that is there.

    Parameters
    ----------
    path
        Where it is.
    command, version
        Which command runs, of which version of this package.
    """

    def __init__(self, path: Path, command: str, version: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._logged: dict[int, float] = {}  # when, of each stage that is going on
        begun = {"command": command, "version": version, "process": os.getpid()}
        self._append("begin", "info", begun, after=b"" if _ends_whole(path) else b"\n")

    def advanced(self, stages: Sequence[Bar]) -> None:
        """Log how far the last stage is: at its beginning, now and then, and at its end."""
        stage, now = stages[-1], time.monotonic()
        last = self._logged.get(id(stage))
        if last is None or stage.is_closing or now - last >= _BETWEEN_LOGGED:
            self._logged[id(stage)] = now
            standing = stage.standing()
            rounded = {
                "per_second": _rounded(standing.per_second),
                "seconds_left": _rounded(standing.seconds_left),
            }
            self._append("progress", "info", asdict(standing) | rounded)
        if stage.is_closing:
            del self._logged[id(stage)]

    def said(self, line: str) -> None:
        """Log a line."""
        self._append("remark", "info", {"message": line})

    def ended(self, ending: Ending) -> None:
        """Log how the run ended."""
        self._append("end", _LEVELS[ending.outcome], asdict(ending))

    def _append(
        self, event: str, level: str, facts: dict[str, object], *, after: bytes = b""
    ) -> None:
        line = json.dumps({"time": _now(), "level": level, "event": event, **facts})
        with self._path.open("ab", buffering=0) as file:
            file.write(after + line.encode() + b"\n")  # in one write, as others may add lines


@dataclass
class Forgiving:
    """A watcher whose files may become unwritable: that is said once, and the run goes on."""

    watcher: StatusFile | JsonLog
    flag: str
    _is_lost: bool = False

    def advanced(self, stages: Sequence[Bar]) -> None:
        """Pass on how far stages are."""
        self._tried(lambda: self.watcher.advanced(stages))

    def said(self, line: str) -> None:
        """Pass on a line."""
        self._tried(lambda: self.watcher.said(line))

    def ended(self, ending: Ending) -> None:
        """Pass on how the run ended."""
        self._tried(lambda: self.watcher.ended(ending))

    def _tried(self, told: Callable[[], None]) -> None:
        if self._is_lost:
            return
        try:
            told()
        except OSError as error:
            self._is_lost = True
            print(f"{self.flag} is not written any more: {error}", file=sys.stderr)


def _is_status(path: Path) -> bool:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES)
    return bool(_LINE.fullmatch(content.decode(errors="replace")))


def _is_log(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline(_MOST_BYTES)
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {"time", "event", "command"} <= first.keys()


STATUS = FileKind("a status file", "dtrak-stream", _is_status)
LOG = FileKind("a log", "dtrak-stream", _is_log)


def _ends_whole(path: Path) -> bool:
    if not target_of(path).exists() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
