"""Shards whose names say how many of them there are: `train-00000-of-00012.parquet` and the like.

A data set that lacks some of them is refused: what is left of it would pass for all of it.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from dtrak_stream.errors import InputError, first_few

_NUMBERED = re.compile(
    r"(?P<before>.*?)(?P<number>\d+)(?P<of>[-_.]?of[-_.]?)(?P<total>\d+)(?P<rest>(?!\d).*)",
    re.IGNORECASE | re.DOTALL,
)
_NAMED_AT_MOST = 3
_MOST_SHARDS = 10**6  # a larger number is none of shards


@dataclass
class _Set:
    """Shards of which each name says the same number of them.

    Attributes
    ----------
    first
        The match of one name.
    total
        How many there should be.
    files
        Those that are there, by number.
    """

    first: re.Match[str]
    total: int
    files: dict[int, Path] = field(default_factory=dict)

    def missing(self) -> Iterator[str]:
        """Yield the names of those that are not there; what is random in names is a `*`."""
        for number in islice(count(self._begin), self.total):
            if number not in self.files:
                yield self._name(number)

    @property
    def _begin(self) -> int:
        """Return the number of the first one: 0, as on the hub, unless the last one tells 1."""
        return int(self.total in self.files and 0 not in self.files)

    def _name(self, number: int) -> str:
        parts = self.first
        width = len(parts["number"])
        ending = _ending(parts["rest"])
        return f"{parts['before']}{number:0{width}d}{parts['of']}{parts['total']}{ending}"


def refuse_incomplete(files: Sequence[Path], where: str) -> None:
    """Refuse shards that are not all there, or that two numberings of one set are mixed in.

    Parameters
    ----------
    files
        The shards that are meant.
    where
        What the user named: a folder, or a pattern, of which those that it does not match are
        not missing.

    Raises
    ------
    InputError
        Naming the first that are missing, or that are there twice.
    """
    pattern = None if Path(where).is_dir() else where
    sets: dict[tuple[Path, str, str], _Set] = {}
    for file in files:
        match = _NUMBERED.fullmatch(file.name)
        if match and int(match["total"]) <= _MOST_SHARDS:
            key = (file.parent, match["before"], file.suffix.lower())
            found = sets.setdefault(key, _Set(match, int(match["total"])))
            _add(found, file, match, where)
    for (folder, _, _), each in sets.items():
        _refuse_missing(each, folder, pattern, where)


def _add(found: _Set, file: Path, match: re.Match[str], where: str) -> None:
    number = int(match["number"])
    other = found.first.string if int(match["total"]) != found.total else None
    if number in found.files:
        other = found.files[number].name
    if other is not None:
        raise InputError(
            f"holds {other} as well as {file.name}, which are of two versions of a data set",
            where=where,
            remedy="remove those of one version, or name the files meant",
        )
    found.files[number] = file


def _refuse_missing(found: _Set, folder: Path, pattern: str | None, where: str) -> None:
    number = found.total - len(found.files)
    if number <= 0:
        return
    missing = (name for name in found.missing() if pattern is None or _meant(folder, name, pattern))
    named = list(islice(missing, _NAMED_AT_MOST))
    if named:
        raise InputError(
            f"lacks {number:,} of {found.total:,} files ({first_few(named, count=number)})",
            where=folder if pattern is None else where,
            remedy=f"fetch them, or name the files meant, such as '{folder}/{found.first.string}'",
        )


def _meant(folder: Path, name: str, pattern: str) -> bool:
    """Return whether a pattern would have matched a file, were it there."""
    return fnmatch.fnmatchcase(str(folder / name), os.path.normpath(pattern))


def _ending(rest: str) -> str:
    """Return what follows the numbers in any name; a hash, as on the hub, differs in each."""
    suffix = Path(rest).suffix
    return rest if rest == suffix or not rest.startswith("-") else f"-*{suffix}"
