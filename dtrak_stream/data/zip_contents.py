"""The members of a zip archive by what they are: images, what lies beside them, or neither."""

from __future__ import annotations

import itertools
import posixpath
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dtrak_stream.data.folder_walk import METADATA_FILES
from dtrak_stream.data.natural_order import sortable
from dtrak_stream.data.passed_over import PassedOver
from dtrak_stream.data.pixels import IMAGE_SUFFIXES
from dtrak_stream.data.sidecars import SIDECAR_SUFFIXES
from dtrak_stream.data.splits import chosen_split
from dtrak_stream.data.zip_members import refuse_unpackable
from dtrak_stream.data.zip_splits import is_above, split_folders
from dtrak_stream.errors import InputError


@dataclass
class ZipContents:
    """The members of an archive by what they are.

    Attributes
    ----------
    parts
        The folders that are meant, each ending in `/`; one without a name for all of it.
    images
        In natural order, part by part.
    sidecars
        The files that may lie beside images and be called like them, by ending and by what stands
        before that in their names.
    metadata
        The metadata files by their paths.
    passed_over
        Whatever else is there.
    twice
        Names of what lies beside images that are there already.
    others
        Paths of all that are none of the images.
    """

    parts: tuple[str, ...]
    images: list[zipfile.ZipInfo] = field(default_factory=list)
    sidecars: dict[str, dict[str, zipfile.ZipInfo]] = field(default_factory=dict)
    metadata: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)
    twice: list[str] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)

    def add(self, member: zipfile.ZipInfo) -> None:
        """Take note of a file."""
        if not member.orig_filename.startswith(self.parts):
            self._add_other(member)
            return
        path = PurePosixPath(member.orig_filename)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            self.images.append(member)
            return
        self.others.append(member.orig_filename.encode())
        if path.name in METADATA_FILES:
            self._add_metadata(member)
        elif path.suffix in SIDECAR_SUFFIXES:
            those = self.sidecars.setdefault(path.suffix, {})
            stem = member.orig_filename.removesuffix(path.suffix)
            twice = those.setdefault(stem, member) is not member
            self.twice += [member.orig_filename] if twice else []
        else:
            self.passed_over.note(path.name)

    def place_of(self, member: zipfile.ZipInfo) -> tuple[int, list[bytes]]:
        """Return what an image is sorted by: its part, and the natural order in that."""
        name = member.orig_filename
        part = next(n for n, part in enumerate(self.parts) if name.startswith(part))
        return part, [*map(sortable, PurePosixPath(name).parts)]

    def _add_other(self, member: zipfile.ZipInfo) -> None:
        folder, name = posixpath.split(member.orig_filename)
        if name in METADATA_FILES and is_above(f"{folder}/" * bool(folder), self.parts):
            self._add_metadata(member)
        self.others.append(member.orig_filename.encode())

    def _add_metadata(self, member: zipfile.ZipInfo) -> None:
        twice = self.metadata.setdefault(member.orig_filename, member) is not member
        self.twice += [member.orig_filename] if twice else []


def contents_of(archive: zipfile.ZipFile, split: str | None, path: Path) -> ZipContents:
    """Return what is meant of an archive; what is hidden or left by macOS is nothing.

    Raises
    ------
    InputError
        As `ZipSource`.
    """
    members = [member for member in archive.infolist() if not _is_hidden(member)]
    splits = split_folders([member.orig_filename for member in members])
    chosen = chosen_split(splits, split, path)
    found = ZipContents(("",) if chosen is None else splits[chosen])
    for member in members:
        if not member.is_dir():
            found.add(member)
    _refuse(found, path)
    return found


def _is_hidden(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.orig_filename).parts
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in parts)


def _refuse(found: ZipContents, path: Path) -> None:
    """Bring the images into the order of the folder that was packed; refuse what is no source."""
    if not found.images:
        raise InputError(
            "; ".join(["holds no images", *found.passed_over.lines()]),
            where=path,
            remedy="name an archive that has some",
        )
    beside = [each for those in found.sidecars.values() for each in those.values()]
    for member in (*found.images, *beside, *found.metadata.values()):
        refuse_unpackable(member, path)
    found.images.sort(key=found.place_of)
    pairs = itertools.pairwise(member.orig_filename for member in found.images)
    twice = [name for before, name in pairs if name == before] + found.twice
    if twice:
        raise InputError(
            f"holds two files called {twice[0]}", where=path, remedy="rename or remove one of them"
        )
