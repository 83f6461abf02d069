"""Folders of splits in a zip archive, by the rule for those of a folder that is not packed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from dtrak_stream.data.pixels import IMAGE_SUFFIXES
from dtrak_stream.data.splits import split_of_folder


def split_folders(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the folders of each split, such as `set/train/`.

    They lie in the archive itself, or in the one folder that there is in it, and so on.

    Parameters
    ----------
    names
        The paths of all members; those of folders end in `/`.
    """
    here = ""
    while True:
        folders, has_images = _directly_in(here, names)
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted(folders):
            split = split_of_folder(name)
            if split is not None:
                found[split] = (*found.get(split, ()), f"{here}{name}/")
        if found or has_images or len(folders) != 1:
            return found
        here = f"{here}{folders.pop()}/"


def is_above(folder: str, parts: Iterable[str]) -> bool:
    """Return whether a part lies below a folder, whose path ends in `/` or is empty."""
    return any(part != folder and part.startswith(folder) for part in parts)


def _directly_in(folder: str, names: Sequence[str]) -> tuple[set[str], bool]:
    """Return the names of the folders in a folder, and whether images lie in it."""
    folders, has_images = set[str](), False
    for name in names:
        if name.startswith(folder):
            first, slash, _ = name[len(folder) :].partition("/")
            if slash:
                folders.add(first)
            elif posixpath.splitext(first)[1].lower() in IMAGE_SUFFIXES:
                has_images = True
    return folders, has_images
