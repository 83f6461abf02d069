"""A column of labels that lies beside the images of a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dtrak_stream.data.columns import as_label
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source import Source
from dtrak_stream.data.spec import parse_spec
from dtrak_stream.errors import InputError
from dtrak_stream.support.names import ListedNames

_FLAG = "--group-column"

Values = Callable[[int, int], Sequence[Any]]


@dataclass(frozen=True)
class Labels:
    """The labels of the images of a source, in its order.

    Attributes
    ----------
    source
        The images.
    rows
        Which rows of the source are meant.
    values
        Returns what the column holds in rows [start, stop) of the source.
    where
        The column, for messages.
    """

    source: Source
    rows: range
    values: Values
    where: str

    def __len__(self) -> int:
        return len(self.rows)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of images [start, stop)."""
        rows = self.rows[start:stop]
        return self.source.sample_ids(rows.start, rows.stop)

    def labels(self, start: int, stop: int) -> list[str | None]:
        """Return the labels of images [start, stop); None where there is none.

        Raises
        ------
        InputError
            If the column holds something that is no label.
        """
        rows = self.rows[start:stop]
        found = self.values(rows.start, rows.stop)
        return [self._label(value, row) for row, value in zip(rows, found, strict=True)]

    def _label(self, value: Any, row: int) -> str | None:
        try:
            return as_label(value)
        except ValueError as error:
            raise InputError(
                f"row {row} holds {error}, which is no label",
                where=self.where,
                remedy="name a column with one text or whole number a sample, or give a CSV",
            ) from error


def open_labels(spec: str, column: str, options: ImageOptions, *, visible: bool) -> Labels:
    """Open a column that lies beside the images of `spec`.

    It is a column of a data set (parquet, saved by datasets, webdataset, hub; `a.b` is entry b of
    the structure in a, such as `json.artist`), another array of the same npz or HDF5 file,
    `folder` for a folder of images (the folder an image lies in), or `target` for
    `sklearn:digits`.

    Raises
    ------
    InputError
        If the source cannot be opened, or has no such column, or one of another length.
    """
    parsed = parse_spec(spec)
    source = open_source(parsed.body, options, visible=visible)
    start, stop = parsed.rows(len(source), None)
    values = _values(source, parsed.body, column)
    return Labels(source, range(start, stop), values, f"{_FLAG} {column}")


def sample_ids_of(
    spec: str, options: ImageOptions, *, limit: int | None, visible: bool
) -> ListedNames:
    """Return the sample ids of a source's images, of which none is read."""
    parsed = parse_spec(spec)
    source = open_source(parsed.body, options, visible=visible)
    return ListedNames(source.sample_ids, range(*parsed.rows(len(source), limit)))


def _values(source: Source, body: str, column: str) -> Values:
    """Return what reads a column; what the source says of it is said of the option."""
    there = source.columns()
    if column not in there and all(each.kind == "name" for each in there.values()):
        raise InputError(
            f"{body} has no columns",
            where=f"{_FLAG} {column}",
            remedy="use --groups FILE.csv, or a parquet, datasets, webdataset, npz or h5 source"
            + "".join(f", or the column {name}" for name in there),
        )

    def values(start: int, stop: int) -> Sequence[Any]:
        try:
            return source.column(column, start, stop)
        except InputError as error:
            where = f"{_FLAG} {column}"
            raise InputError(error.what, where=where, remedy=error.remedy) from error

    values(0, 1)
    return values
