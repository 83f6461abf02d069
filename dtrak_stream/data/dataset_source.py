"""Rows of a data set of the library `datasets` as a source of images."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import datasets
import numpy as np
import xxhash

from dtrak_stream.data.columns import Column
from dtrak_stream.data.dataset_columns import DatasetColumns
from dtrak_stream.data.fetched_tables import WithTables
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.pixels import decode
from dtrak_stream.data.remarks import Remarks
from dtrak_stream.data.source import (
    UNREADABLE,
    Content,
    Pixels,
    RowNumbers,
    open_regular,
    refuse_out_of_reach,
    unusable,
)
from dtrak_stream.data.tar_files import KEY_COLUMN, URL_COLUMN
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.name_index import hashes_of
from dtrak_stream.support.names import ListedNames

_KEYS_AT_A_TIME = 2**14


class DatasetSource:
    """The image column of one data set; each row's encoded bytes are decoded on demand.

    Parameters
    ----------
    rows
        A `datasets.Dataset`.
    options
        Which column holds its images (default: the only one), and how they are decoded.
    where
        What the user calls it.
    passed_over
        What is to be said of what is not among the rows.
    tables
        Those that img2dataset left beside tar files, by the paths of these without their ending.

    Raises
    ------
    InputError
        If there is no such column, or several and none was named.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        options: ImageOptions,
        *,
        where: str,
        passed_over: Sequence[str] = (),
        tables: Mapping[str, Path] | None = None,
    ) -> None:
        rows = rows.with_format(None)
        self._rows = rows
        self._options = options
        self._column = _chosen_column(rows.features, options.image_column, where)
        self._cells = rows.select_columns([self._column])
        if isinstance(rows.features[self._column], datasets.Image):
            self._cells = self._cells.cast_column(self._column, datasets.Image(decode=False))
        own = DatasetColumns(rows, self._column)
        self._beside = WithTables(own, tables, _stems(rows)) if tables else own
        self._keys = _distinct_keys(rows)
        self._outside = False
        self._passed_over = passed_over
        self._remarks = Remarks(len(rows), lambda row: self.sample_ids(row, row + 1)[0])
        # data sets promise nothing to threads; what takes long, decoding, needs none
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self._cells)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the keys of rows `[start, stop)`, or their numbers if there are no keys."""
        if self._keys is None:
            return [str(index) for index in range(start, stop)]
        return list(self._keys[start:stop][KEY_COLUMN])

    def pixels(self, index: int) -> Pixels:
        """Decode the image in row `index`, (height, width, channels); see `decode`."""
        try:
            with self._file(index) as file:
                return decode(file, self._options, self._remarks.about(index))
        except OSError as error:
            raise unusable(error.filename or f"row {index}", error) from error

    def check(self, rows: RowNumbers, *, visible: bool) -> None:
        """Do nothing: each row stands for itself."""

    def layout(self) -> str:
        """Return that these are encoded images in a column of this name."""
        return f"data set column {self._column!r}"

    def contents(self, start: int, stop: int) -> Iterator[Content]:
        """Yield the id of each row and the hash of its encoded image."""
        for index in range(start, stop):
            name = self.sample_ids(index, index + 1)[0]
            yield Content(self._hash(index), name)

    def reaches_outside(self) -> bool:
        """Return whether a row that was read names an image file instead of holding it."""
        return self._outside

    def remarks(self) -> list[str]:
        """Return what is to be said of the images that were decoded."""
        return [*self._passed_over, *self._remarks.lines()]

    def columns(self) -> Mapping[str, Column]:
        """Return the other columns, and the entries of those that are structures."""
        with self._reading:
            return self._beside.columns()

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return rows `[start, stop)` of a column; classes by their names."""
        with self._reading:
            return self._beside.column(name, start, stop)

    def files(self) -> list[Path]:
        """Return the arrow files that the rows are mapped from."""
        return [Path(each["filename"]) for each in self._rows.cache_files]

    def _file(self, index: int) -> IO[bytes]:
        with self._reading:
            cell = self._cells[index][self._column]
        content, path = (
            (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        )
        if content is not None:
            return io.BytesIO(content)
        if path is None:
            raise BadImageError("the row has no image")
        self._outside = True
        return open_regular(Path(path))

    def _hash(self, index: int) -> bytes:
        try:
            with self._file(index) as file:
                return xxhash.xxh3_128(file.read()).digest()
        except OSError as error:
            refuse_out_of_reach(error.filename or f"row {index}", error)
        except BadImageError:
            pass
        return UNREADABLE


def _chosen_column(features: datasets.Features, column: str | None, where: str) -> str:
    images: list[str] = [
        name for name, feature in features.items() if isinstance(feature, datasets.Image)
    ]
    if column is None and len(images) == 1:
        return images[0]
    if column is not None and column in features and _holds_encoded_images(features[column]):
        return column
    if column is not None and column in features:
        problem = f"column {column!r} does not hold encoded images"
    elif column is not None:
        problem = f"no column {column!r}; it has {', '.join(features)}"
    elif images:
        problem = f"several image columns ({', '.join(images)})"
    else:
        problem = f"no image column; it has {', '.join(features)}"
    raise InputError(problem, where=where, remedy="name the one to use with --image-column")


def _holds_encoded_images(feature: object) -> bool:
    """Tell whether a column is of images, or of the bytes that images are stored as."""
    if isinstance(feature, datasets.Value):
        return feature.dtype in ("binary", "large_binary")
    is_pair = isinstance(feature, dict) and feature.keys() == {"bytes", "path"}
    return is_pair or isinstance(feature, datasets.Image)


def _stems(rows: datasets.Dataset) -> ListedNames:
    """Return the samples of tar files, each by the path of its file and its key."""
    named = rows.select_columns([URL_COLUMN, KEY_COLUMN])

    def listed(start: int, stop: int) -> list[str]:
        found = named[start:stop]
        pairs = zip(found[URL_COLUMN], found[KEY_COLUMN], strict=True)
        return [f"{Path(url).with_suffix('')}/{key}" for url, key in pairs]

    return ListedNames(listed, range(len(rows)))


def _distinct_keys(rows: datasets.Dataset) -> datasets.Dataset | None:
    """Return the key column, or None if it is missing or does not tell all rows apart."""
    if KEY_COLUMN not in rows.features:
        return None
    keys = rows.select_columns([KEY_COLUMN])
    blocks = [hashes_of((), 0)]
    for batch in keys.iter(_KEYS_AT_A_TIME):
        names = batch[KEY_COLUMN]
        if None in names:
            return None
        blocks.append(hashes_of(map(str.encode, names), len(names)))
    hashes = np.sort(np.concatenate(blocks))
    return None if (hashes[1:] == hashes[:-1]).any() else keys
