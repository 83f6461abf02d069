"""Where numbered files lie, so that no folder holds millions of them.

The first 10,000 lie in the folder itself, 00000.png and so on, those after them in a subfolder for
each 10,000, named like the first file in it: 10000/10000.png, 20000/20000.png. Natural order is the
order of the numbers. Folders that were begun before there were subfolders stay flat.
"""

from __future__ import annotations

from pathlib import Path

from dtrak_stream.support.durable import remove_partials

FILES_PER_FOLDER = 10_000


def numbered_path(folder: Path, number: int, suffix: str) -> Path:
    """Return where file `number` with this suffix lies, or goes.

    Parameters
    ----------
    folder
        The folder of all of them.
    number
        From 0.
    suffix
        Such as `.png`.
    """
    first = number // FILES_PER_FOLDER * FILES_PER_FOLDER
    if first == 0 or _flat_path(folder, FILES_PER_FOLDER, suffix).is_file():
        return _flat_path(folder, number, suffix)
    return folder / f"{first:05d}" / f"{number:05d}{suffix}"


def remove_numbered_partials(folder: Path) -> None:
    """Remove what interrupted writes left behind in the folder and its subfolders."""
    for each in (folder, *folder.glob("[0-9]*0000/")):
        remove_partials(each)


def _flat_path(folder: Path, number: int, suffix: str) -> Path:
    return folder / f"{number:05d}{suffix}"
