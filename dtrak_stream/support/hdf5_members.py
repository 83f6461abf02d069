"""Whether all that an HDF5 file shows lies in that file, or in the folder that it is in.

HDF5 can show data of other files as its own: through links, as views (virtual data sets), or as raw
bytes of any file (external storage). A file from elsewhere could so make any file of this machine
an image or a number of a result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from dtrak_stream.errors import InputError

_OWN = "."  # how a view names the file that it is in
_DEEPEST = 8


def refuse_foreign_members(file: h5py.File, path: Path) -> None:
    """Refuse a file whose members are not all its own: links, views, storage in other files.

    Raises
    ------
    InputError
        Naming the first such member.
    """
    for name, member in _members(file):
        if member is None:
            what = f"{name} is a link, perhaps to another file"
        elif member.is_virtual or member.external:
            what = f"{name} shows data of other places as its own"
        else:
            continue
        raise InputError(what, where=path, remedy="take a file that holds its data itself")


def refuse_reaching_out(rows: h5py.Dataset, path: Path, depth: int = 0) -> None:
    """Refuse a data set that shows data from outside of the folder that its file is in.

    Raises
    ------
    InputError
        Naming the file that it shows data of.
    """
    folder = Path(os.path.realpath(path.parent))
    for shown, name in _shown(rows):
        place = Path(os.path.realpath(folder / shown))
        if not place.is_relative_to(folder) or "%" in shown or depth >= _DEEPEST:
            raise InputError(
                f"{rows.name} shows data of another file, {shown}",
                where=path,
                remedy="copy the data into one file, or bring both into one folder",
            )
        if name is not None and place.is_file():
            with h5py.File(place, "r") as file:
                if isinstance(inner := file.get(name), h5py.Dataset):
                    refuse_reaching_out(inner, place, depth + 1)


def _members(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Yield every data set below a group by its name; None instead of what is a link."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield f"{group.name.rstrip('/')}/{name}", None
            continue
        member = group[name]
        if isinstance(member, h5py.Group):
            yield from _members(member)
        elif isinstance(member, h5py.Dataset):
            yield member.name, member


def _shown(rows: h5py.Dataset) -> Iterator[tuple[str, str | None]]:
    """Yield the other files that a data set shows data of, each with the data set in it, if any."""
    for name, _, _ in rows.external or ():
        yield name, None
    for source in rows.virtual_sources() if rows.is_virtual else ():
        if source.file_name != _OWN:
            yield source.file_name, source.dset_name
