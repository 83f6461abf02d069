"""The names of the image files below a folder, in natural order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dtrak_stream.data.fetched_tables import SUFFIX, is_fetched_table
from dtrak_stream.data.natural_order import name_of, sortable
from dtrak_stream.data.passed_over import PassedOver
from dtrak_stream.data.pixels import IMAGE_SUFFIXES
from dtrak_stream.data.sidecars import SIDECAR_SUFFIXES
from dtrak_stream.data.source import unreadable
from dtrak_stream.errors import InputError
from dtrak_stream.support.stamps import is_folder

# stands behind the name of a folder while names are sorted, and in no name
_FOLDER = b"\0"

GENERATION_RECORD = "generation.yaml"
"""What `generate` leaves in its folder beside the images."""
METADATA_FILES = frozenset({"metadata.jsonl", "metadata.csv", "metadata.parquet"})
"""What Hugging Face's imagefolder calls the files that say something of the images beside them."""
REPORT_RECORDS = frozenset({"index.html", "grids"})
"""What a report consists of; grids are pictures of images."""
_RECORDS = REPORT_RECORDS | {GENERATION_RECORD}

Above = frozenset[tuple[int, int]]


class FolderWalk:
    """Goes through a folder and those below it, links followed.

    Parameters
    ----------
    folder
        Where names are relative to.

    Attributes
    ----------
    passed_over
        The files come upon so far that are called neither like images nor like what lies beside
        them.
    sidecars
        Which endings there are of files that may lie beside an image and be called like it.
    metadata
        The metadata files, relative to the folder.
    tables
        Those that img2dataset left, by the folder in the folder that each is about.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.passed_over = PassedOver()
        self.sidecars = set[str]()
        self.metadata = list[str]()
        self.tables = dict[str, Path]()

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the relative paths of the image files whose paths begin so.

        Raises
        ------
        InputError
            If a folder cannot be listed, links back into itself, or holds pictures that this
            package has made: a report, or, below the folder itself, generated images.
        """
        return self._names(prefix, frozenset())

    def _names(self, prefix: str, above: Above) -> Iterator[str]:
        here = self._folder / prefix
        entries, inside = self._listing(here, above)
        for entry in entries:
            name = name_of(entry.removesuffix(_FOLDER))
            if entry.endswith(_FOLDER):
                yield from self._names(f"{prefix}{name}/", inside)
            else:
                yield prefix + name

    def _listing(self, here: Path, above: Above) -> tuple[list[bytes], Above]:
        """Return the folders and images in `here` in natural order, and the folders we are in.

        Each is one object of bytes, the `sortable` name and a mark if it is a folder: of a million
        names in one folder nothing larger is kept.
        """
        try:
            status = here.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise InputError(
                    "is a symbolic link to a folder it lies in",
                    where=here,
                    remedy="remove the link",
                )
            entries = self._wanted(here)
        except OSError as error:
            raise unreadable(here, error) from error
        entries.sort()
        return entries, above | {identity}

    def _wanted(self, here: Path) -> list[bytes]:
        entries, records, passed_over = list[bytes](), set[str](), PassedOver()
        with os.scandir(here) as listing:
            for entry in listing:
                if entry.name in _RECORDS:
                    records.add(entry.name)
                if is_wanted(entry):
                    entries.append(_sortable_entry(entry))
                elif is_beside(entry):
                    self._note_beside(here / entry.name)
                elif not entry.name.startswith("."):
                    passed_over.note(entry.name)
        self._refuse_own(here, records)
        if GENERATION_RECORD not in records:  # whose folder holds other records as well
            self.passed_over.add(passed_over)
        return entries

    def _note_beside(self, path: Path) -> None:
        if path.name in METADATA_FILES:
            self.metadata.append(path.relative_to(self._folder).as_posix())
        elif path.suffix in SIDECAR_SUFFIXES:
            self.sidecars.add(path.suffix)
        else:
            about = path.with_suffix("").relative_to(self._folder).as_posix()
            self.tables[about] = path

    def _refuse_own(self, here: Path, records: set[str]) -> None:
        """Refuse pictures that this package made, which are not what the folder is of."""
        report = records >= REPORT_RECORDS
        if report or (GENERATION_RECORD in records and here != self._folder):
            kind = "a report, whose grids" if report else "images that were generated, which"
            raise InputError(
                f"is {kind} would be taken for images of {self._folder}",
                where=here,
                remedy="move it out, or name the folder of images that is meant",
            )


def is_wanted(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is an image file, or a folder that may hold some."""
    if entry.name.startswith("."):
        return False
    return is_folder(entry) or os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def is_beside(entry: os.DirEntry[str]) -> bool:
    """Return whether a file may say something of the images beside it."""
    name = entry.name
    if name in METADATA_FILES or (name.endswith(SIDECAR_SUFFIXES) and name[0] != "."):
        return True
    return name.lower().endswith(SUFFIX) and is_fetched_table(Path(entry.path))


def _sortable_entry(entry: os.DirEntry[str]) -> bytes:
    return sortable(entry.name) + (_FOLDER if is_folder(entry) else b"")
