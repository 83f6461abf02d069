"""What a folder is: images, archives such as parquet or tar files, or a source of another kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dtrak_stream.data.fetched_tables import is_fetched_table
from dtrak_stream.data.folder_walk import METADATA_FILES
from dtrak_stream.data.kinds import KINDS
from dtrak_stream.data.pixels import IMAGE_SUFFIXES
from dtrak_stream.data.source import unreadable
from dtrak_stream.data.splits import split_of_folder
from dtrak_stream.errors import InputError
from dtrak_stream.support.stamps import is_folder

_ARCHIVES = {suffix for kind in KINDS.values() if kind.joins for suffix in kind.suffixes}
_CARD = "README.md"
_SHARDS_OF_CLONE = "data"
_MARKERS = {name for kind in KINDS.values() for names in kind.markers for name in names}


@dataclass(frozen=True)
class FolderContents:
    """What a folder is made of.

    Attributes
    ----------
    marked
        The kind that files in it tell it is; nothing if they tell none.
    archives
        Its archives, in no order; nothing if it is a folder of images.
    splits
        Its folders of images by the split that their names tell.
    """

    marked: str = ""
    archives: list[Path] = field(default_factory=list)
    splits: dict[str, tuple[Path, ...]] = field(default_factory=dict)


@dataclass
class _Listing:
    """The names in one folder that tell what it is."""

    folder: Path
    markers: set[str] = field(default_factory=set)
    archives: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    split_folders: list[Path] = field(default_factory=list)
    has_images: bool = False
    has_card: bool = False
    folders: int = 0
    last_folder: Path | None = None

    def add(self, entry: os.DirEntry[str]) -> None:
        """Take note of an entry."""
        suffix = _suffix(entry.name)
        if entry.name in _MARKERS:
            self.markers.add(entry.name)
        elif suffix in IMAGE_SUFFIXES:
            self.has_images = True
        elif suffix in _ARCHIVES:
            is_record = _is_record(self.folder / entry.name)
            (self.tables if is_record else self.archives).append(self.folder / entry.name)
        elif entry.name == _CARD:
            self.has_card = True
        elif is_folder(entry):
            path = self.folder / entry.name
            self.folders, self.last_folder = self.folders + 1, path
            if split_of_folder(entry.name) is not None:
                self.split_folders.append(path)

    def only_folder(self) -> Path | None:
        """Return the folder that is all there is of interest; links are not followed."""
        alone = self.folders == 1 and not self.has_images and not self.split_folders
        return self.last_folder if alone and not (self.last_folder or Path()).is_symlink() else None


def look_into(folder: Path) -> FolderContents:
    """Return what a folder is made of, by the names in it; no file is opened.

    Archives lie in the folder itself, or in folders below it if neither images nor archives do,
    as in the clone of a data set. What lies deeper beside an image makes no folder of archives.
    The tables that img2dataset writes beside its folders or tar files are no archives, and
    metadata.parquet is one only where there are no images that it could be about.
    Folders of splits lie in the folder, or in the one folder that there is in it.

    Raises
    ------
    InputError
        If the folder cannot be listed, or holds images beside archives (in the clone of a data
        set, beside the folder of archives), or the folders below it that hold archives differ in
        more than the name of a split.
    """
    here = _listing(folder)
    for kind in KINDS.values():
        if any(names <= here.markers for names in kind.markers):
            return FolderContents(marked=kind.name)
    _refuse_images_beside(here)
    archives = here.archives if here.archives or here.has_images else _deeper_archives(folder)
    if not archives and here.tables and not _has_images(folder):
        archives = [path for path in here.tables if path.name in METADATA_FILES]
    if archives:
        _refuse_several_sets(folder, archives)
        return FolderContents(archives=archives)
    return FolderContents(splits=_split_folders(here))


def _is_record(path: Path) -> bool:
    """Return whether a file says something of images beside it, and holds none."""
    return path.name in METADATA_FILES or is_fetched_table(path)


def _refuse_images_beside(here: _Listing) -> None:
    """Refuse a folder of archives that holds images besides: nobody knows which are meant."""
    if not here.has_images:
        return
    folder, archives = here.folder, here.archives
    if not archives and here.has_card and (here.folder / _SHARDS_OF_CLONE).is_dir():
        folder = here.folder / _SHARDS_OF_CLONE
        archives = _listing(folder).archives
    if archives:
        suffix = archives[0].suffix
        raise InputError(
            f"holds image files as well as {suffix} files",
            where=here.folder,
            remedy=f"name the files meant, such as '{folder}/*{suffix}'",
        )


def _split_folders(here: _Listing) -> dict[str, tuple[Path, ...]]:
    while deeper := here.only_folder():
        here = _listing(deeper)
    found: dict[str, tuple[Path, ...]] = {}
    for path in sorted(here.split_folders):
        split = str(split_of_folder(path.name))
        found[split] = (*found.get(split, ()), path)
    return found


def _listing(folder: Path) -> _Listing:
    found = _Listing(folder)
    for entry in _entries(folder):
        found.add(entry)
    return found


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            yield from (entry for entry in listing if not entry.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error


def _deeper_archives(folder: Path) -> list[Path]:
    """Return the archives below a folder, none if there are images: the first one tells."""
    found = list[Path]()
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.startswith("."):
                continue
            if _suffix(name) in IMAGE_SUFFIXES:
                return []
            if _suffix(name) in _ARCHIVES and not _is_record(Path(root, name)):
                found.append(Path(root, name))
    return found


def _has_images(folder: Path) -> bool:
    """Return whether there are image files below a folder."""
    walk = os.walk(folder, followlinks=True)
    return any(_suffix(name) in IMAGE_SUFFIXES for _, _, names in walk for name in names)


def _refuse_several_sets(folder: Path, archives: list[Path]) -> None:
    """Refuse to join files of folders that may be different data sets."""
    sets = dict[tuple[str, ...], Path]()
    for file in archives:
        above = file.relative_to(folder).parent
        sets.setdefault(tuple(part for part in above.parts if not split_of_folder(part)), above)
    if len(sets) > 1:
        first, second, *_ = sets.values()
        suffix = archives[0].suffix
        raise InputError(
            f"holds {suffix} files in several folders ({first}, {second}{', ...' * (len(sets) > 2)}"
            "), which may be different data sets",
            where=folder,
            remedy=f"name one of them, or the files meant, such as '{folder}/*/*{suffix}'",
        )
