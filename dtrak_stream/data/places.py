"""Which kind of source a string names, and the files it is made of."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from natsort import natsorted

from dtrak_stream.data.folder_kinds import look_into
from dtrak_stream.data.kinds import KINDS, SOURCES, SourceKind
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.shard_numbers import refuse_incomplete
from dtrak_stream.data.source import (
    A_POINTER,
    FETCH_LFS,
    LFS_POINTER,
    open_regular,
    unreadable,
)
from dtrak_stream.data.splits import by_split, chosen_split
from dtrak_stream.errors import InputError

_ONE_FILE = {s: kind for kind in KINDS.values() if not kind.joins for s in kind.suffixes}
_JOINED = {s: kind for kind in KINDS.values() if kind.joins for s in kind.suffixes}
_FILE = re.compile(
    rf"(?P<path>.+?(?P<suffix>{'|'.join(map(re.escape, _ONE_FILE))}))(:(?P<key>.+))?",
    re.IGNORECASE | re.DOTALL,
)
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Place:
    """Where the images of a source lie.

    Attributes
    ----------
    body
        What the user wrote, without a slice.
    kind
        Which row of the table of kinds it is.
    paths
        The folder, the file, or the files in the order they are read; nothing for what is
        embedded or on the hub.
    key
        Name of what is meant in its file, where one was given.
    splits
        The files, or folders of images, of each split that names tell.
    parts
        Which folders of a folder of images are meant; nothing for all of it.
    """

    body: str
    kind: str
    paths: tuple[Path, ...] = ()
    key: str | None = None
    splits: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    parts: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        """Return the one folder or file it is."""
        (path,) = self.paths
        return path

    def of(self, split: str | None) -> Place:
        """Return the part of it that is meant, unless whoever opens it is to find that.

        Raises
        ------
        InputError
            If there is no such split, or there are several and none was asked for, or files are
            missing of which the names of others tell.
        """
        if KINDS[self.kind].knows_splits:
            return self
        chosen = chosen_split(self.splits, split, self.body)
        if self.kind == "folder":
            return self if chosen is None else dataclasses.replace(self, parts=self.splits[chosen])
        paths = self.paths if chosen is None else self.splits[chosen]
        if KINDS[self.kind].joins:
            refuse_incomplete(paths, self.body)
        return dataclasses.replace(self, paths=paths)


@dataclass(frozen=True)
class SourceRequest:
    """What a source is opened with.

    Attributes
    ----------
    place
        Where its images lie.
    options
        How they are read.
    visible
        Whether to show progress.
    """

    place: Place
    options: ImageOptions
    visible: bool


def locate(body: str) -> Place:
    """Return what `body` (without a slice) names; no image file is opened.

    Raises
    ------
    InputError
        If it is missing, unreadable, ambiguous or of no known kind.
    """
    for kind in KINDS.values():
        if kind.beginning and body.startswith(kind.beginning):
            return Place(body, kind.name)
    path = Path(body)
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        return _folder(body, path)
    match = _FILE.fullmatch(body)
    if match:
        return _file(body, Path(match["path"]), _kind_of(match), match["key"])
    if _WILDCARD.search(body) and not mode:
        files = _matches(body)
        return _shards(body, files, _common_folder(files))
    _require_readable(path)
    if path.suffix.lower() in _JOINED:
        return _shards(body, [path], path.parent)
    raise InputError("is of no known kind", where=body, remedy=f"give {SOURCES}")


def _kind_of(match: re.Match[str]) -> SourceKind:
    return _ONE_FILE[match["suffix"].lower()]


def _file(body: str, path: Path, kind: SourceKind, key: str | None) -> Place:
    _require_readable(path)
    if key is not None and not kind.has_keys:
        raise InputError(
            f"an {kind.name} file has no keys", where=f"{path}:{key}", remedy=f"write {path} alone"
        )
    return Place(body, kind.name, (path,), key)


def _folder(body: str, path: Path) -> Place:
    contents = look_into(path)
    if contents.marked:
        return Place(body, contents.marked, (path,))
    if contents.archives:
        return _shards(body, contents.archives, path)
    return Place(body, "folder", (path,), splits=contents.splits)


def _shards(body: str, files: list[Path], below: Path) -> Place:
    suffixes = {file.suffix.lower() for file in files}
    if len(suffixes) > 1 or not suffixes <= _JOINED.keys():
        raise InputError(
            f"names files of these kinds: {', '.join(sorted(suffixes))}",
            where=body,
            remedy=f"name {', or '.join(f'{suffix} files only' for suffix in _JOINED)}",
        )
    for file in files:
        _require_readable(file)
    in_order = natsorted(sorted(files), key=str)
    splits = by_split(in_order, below)
    return Place(body, _JOINED[suffixes.pop()].name, tuple(in_order), splits=splits)


def _mode(path: Path) -> int:
    """Return the file type and permissions of `path`, 0 if it cannot be looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _common_folder(files: list[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _matches(pattern: str) -> list[Path]:
    files = [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207
    if not files:
        raise InputError("matches no file", where=pattern, remedy="check the pattern")
    return files


def _require_readable(path: Path) -> None:
    try:
        with open_regular(path) as file:
            beginning = file.read(len(LFS_POINTER))
    except OSError as error:
        raise unreadable(path, error) from error
    if beginning == LFS_POINTER:
        raise InputError(f"is {A_POINTER}", where=path, remedy=f"fetch it with {FETCH_LFS}")
