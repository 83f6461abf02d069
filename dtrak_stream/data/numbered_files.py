"""Where numbered files lie, so that no folder holds millions of them.

The first 10,000 lie in the folder itself, 00000.png and so on, those after them in a subfolder for
each 10,000, named like the first file in it: 10000/10000.png, 20000/20000.png. Natural order is the
order of the numbers. Folders that were begun before there were subfolders stay flat.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dtrak_stream.support.durable import remove_partials

FILES_PER_FOLDER = 10_000


@dataclass(frozen=True)
class NumberedFiles:
    """The files of a folder that are numbers with one suffix, or will be.

    Attributes
    ----------
    folder
        The folder of all of them.
    suffix
        Such as `.png`.
    """

    folder: Path
    suffix: str

    def path(self, number: int) -> Path:
        """Return where a file, numbered from 0, lies or goes."""
        first, name = number // FILES_PER_FOLDER * FILES_PER_FOLDER, f"{number:05d}{self.suffix}"
        if first == 0 or self._is_flat:
            return self.folder / name
        return self.folder / f"{first:05d}" / name

    @cached_property
    def _is_flat(self) -> bool:
        """Return whether any file after the first 10,000 lies in the folder itself."""
        if not self.folder.is_dir():
            return False
        with os.scandir(self.folder) as entries:
            return any(self._is_late(Path(entry.name)) for entry in entries)

    def _is_late(self, name: Path) -> bool:
        numbered = name.suffix == self.suffix and name.stem.isdecimal()
        return numbered and int(name.stem) >= FILES_PER_FOLDER


def remove_numbered_partials(folder: Path) -> None:
    """Remove what interrupted writes left behind in the folder and its subfolders."""
    for each in (folder, *folder.glob("[0-9]*0000/")):
        remove_partials(each)
