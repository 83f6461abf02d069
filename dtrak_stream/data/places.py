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
from typing import Literal

from natsort import natsorted

from dtrak_stream.data.folder_kinds import look_into
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.data.splits import by_split, chosen_split
from dtrak_stream.errors import InputError

KINDS = (
    "a folder of images, FILE.npy, FILE.npz:KEY, FILE.h5:KEY, sklearn:digits, a folder saved by "
    "datasets, FILE.parquet, FILE.tar, or hf:OWNER/NAME"
)
DIGITS = "sklearn:digits"

Kind = Literal["digits", "hub", "folder", "saved", "array", "parquet", "webdataset"]

_ARRAY_FILE = re.compile(
    r"(?P<path>.+?\.(?P<suffix>npy|npz|h5|hdf5))(:(?P<key>.+))?", re.IGNORECASE | re.DOTALL
)
_WILDCARD = re.compile(r"[*?\[]")
_BUILDERS: dict[str, Kind] = {".parquet": "parquet", ".tar": "webdataset"}


@dataclass(frozen=True)
class Place:
    """Where the images of a source lie.

    Attributes
    ----------
    body
        What the user wrote, without a slice.
    kind
        What it is: `parquet` and `webdataset` are files of those kinds.
    paths
        The folder, the file, or the files in the order they are read; nothing for what is
        embedded or on the hub.
    key
        Name of the array in its file, where one was given.
    splits
        The files, or folders of images, of each split that names tell.
    parts
        Which folders of a folder of images are meant; nothing for all of it.
    """

    body: str
    kind: Kind
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
        """Return the part of it that is meant; what is saved or on the hub knows its own splits.

        Raises
        ------
        InputError
            If there is no such split, or there are several and none was asked for.
        """
        if self.kind in ("saved", "hub"):
            return self
        chosen = chosen_split(self.splits, split, self.body)
        if chosen is None:
            return self
        if self.kind == "folder":
            return dataclasses.replace(self, parts=self.splits[chosen])
        return dataclasses.replace(self, paths=self.splits[chosen])


def locate(body: str) -> Place:
    """Return what `body` (without a slice) names; no image file is opened.

    Raises
    ------
    InputError
        If it is missing, unreadable, ambiguous or of no known kind.
    """
    if body.startswith("sklearn:"):
        return _embedded(body)
    if body.startswith("hf:"):
        return Place(body, "hub")
    path = Path(body)
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        return _folder(body, path)
    match = _ARRAY_FILE.fullmatch(body)
    if match:
        return _array(body, Path(match["path"]), match["suffix"].lower(), match["key"])
    if _WILDCARD.search(body) and not mode:
        files = _matches(body)
        return _shards(body, files, _common_folder(files))
    _require_readable(path)
    if path.suffix.lower() in _BUILDERS:
        return _shards(body, [path], path.parent)
    raise InputError("is of no known kind", where=body, remedy=f"give {KINDS}")


def _embedded(body: str) -> Place:
    if body != DIGITS:
        raise InputError("is not embedded", where=body, remedy=f"give {DIGITS}")
    return Place(body, "digits")


def _array(body: str, path: Path, suffix: str, key: str | None) -> Place:
    _require_readable(path)
    if suffix == "npy" and key is not None:
        raise InputError(
            "an npy file has no keys", where=f"{path}:{key}", remedy=f"write {path} alone"
        )
    return Place(body, "array", (path,), key)


def _folder(body: str, path: Path) -> Place:
    contents = look_into(path)
    if contents.is_saved:
        return Place(body, "saved", (path,))
    if contents.archives:
        return _shards(body, contents.archives, path)
    return Place(body, "folder", (path,), splits=contents.splits)


def _shards(body: str, files: list[Path], below: Path) -> Place:
    suffixes = {file.suffix.lower() for file in files}
    if len(suffixes) > 1 or not suffixes <= _BUILDERS.keys():
        raise InputError(
            f"names files of these kinds: {', '.join(sorted(suffixes))}",
            where=body,
            remedy="name .parquet files only, or .tar files only",
        )
    for file in files:
        _require_readable(file)
    in_order = natsorted(sorted(files), key=str)
    splits = by_split(in_order, below)
    return Place(body, _BUILDERS[suffixes.pop()], tuple(in_order), splits=splits)


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
        open_regular(path).close()
    except OSError as error:
        raise unreadable(path, error) from error
