"""What the files of a source look like, without opening an image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dtrak_stream.data.arrays import DIGITS_FILE
from dtrak_stream.data.fetched_tables import table_of as fetched_table_of
from dtrak_stream.data.folder import prefix_of
from dtrak_stream.data.folder_beside import metadata_above
from dtrak_stream.data.folder_walk import is_beside, is_wanted
from dtrak_stream.data.idx_files import labels_beside
from dtrak_stream.data.kinds import KINDS
from dtrak_stream.data.manifest import ManifestSource, table_of
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.places import Place, SourceRequest, locate
from dtrak_stream.data.spec import parse_spec
from dtrak_stream.support.stamps import Stamp, Stamping


class SourceStamps:
    """Stamps of sources as they were when each was first asked for: files are looked at once.

    It is for one moment, such as the checks of a finished run. Whoever wants to know whether a
    source changed since then takes a stamp with `stamp_source`.
    """

    def __init__(self) -> None:
        self._taken: dict[tuple[str, ImageOptions], Stamp | None] = {}

    def of(self, spec: str, options: ImageOptions) -> Stamp | None:
        """Return the stamp of a source, None if it has no files by which a change would show.

        Raises as `stamp_source`.
        """
        asked = spec, options
        if asked not in self._taken:
            stamping = Stamping()
            shows = stamp_source(spec, options, stamping)
            self._taken[asked] = stamping.stamp() if shows else None
        return self._taken[asked]


def stamp_source(spec: str, options: ImageOptions, stamping: Stamping) -> bool:
    """Add the files of a source to a stamp; the range that is meant of it does not matter.

    Of a folder these are the images in it and what says something of them, of a data set of the
    hub the copy in the cache.
    A source may still reach outside of its files: that shows when it is read, see
    `Images.reaches_outside`.

    Returns
    -------
    bool
        False if there are no files by which a change would show.

    Raises
    ------
    InputError
        If there is no such source.
    OSError
        If a file or folder cannot be looked at.
    """
    place = locate(parse_spec(spec).body).of(options.split)
    stamping.text(place.kind)
    if options.rows is not None:
        stamping.file(options.rows)
    if place.kind == "digits":
        stamping.file(DIGITS_FILE)
        return True
    if place.kind == "hub":
        return _stamp_copy(place, options, stamping)
    if place.kind == "list":
        return _stamp_list(place, options, stamping)
    if place.kind == "folder":
        for part in place.parts or (place.path,):
            stamping.tree(part, _is_read, prefix_of(part, place.path))
        for name in metadata_above(place.path, place.parts):
            stamping.file(place.path / name, name)
        if (table := fetched_table_of(place.path)) is not None:
            stamping.file(table)
    elif KINDS[place.kind].markers:
        stamping.tree(place.path, _is_visible)
    else:
        for path in _files_of(place):
            stamping.file(path)
    return bool(place.paths)


def _files_of(place: Place) -> Iterator[Path]:
    yield from place.paths
    if place.kind == "webdataset":
        yield from filter(None, map(fetched_table_of, place.paths))
    if place.kind == "idx" and (labels := labels_beside(place.path)) is not None:
        yield labels


def _stamp_list(place: Place, options: ImageOptions, stamping: Stamping) -> bool:
    """Add a table and the files it lists, and the names of those that are missing."""
    table = table_of(place.body)
    stamping.file(table)
    for path in ManifestSource(table, options).files():
        try:
            stamping.file(path)
        except FileNotFoundError:
            stamping.text(f"missing {path}")
    return True


def _stamp_copy(place: Place, options: ImageOptions, stamping: Stamping) -> bool:
    # Importing datasets takes a second, which only its users should wait for.
    from dtrak_stream.data.hugging_face import open_hub

    files = open_hub(SourceRequest(place, options, visible=False)).files()
    for path in files:
        stamping.file(path)
    return bool(files)


def _is_read(entry: os.DirEntry[str]) -> bool:
    return is_wanted(entry) or is_beside(entry)


def _is_visible(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".")
