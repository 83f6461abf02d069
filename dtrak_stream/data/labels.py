"""A column of labels that lies beside the images of a source."""

from __future__ import annotations

from dataclasses import dataclass

from dtrak_stream.data.column_values import Texts, texts_of, values_of
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source import Source
from dtrak_stream.data.spec import parse_spec
from dtrak_stream.errors import InputError
from dtrak_stream.support.names import ListedNames

_FLAG = "--group-column"


@dataclass(frozen=True)
class Labels:
    """The labels of the images of a source, in its order.

    Attributes
    ----------
    source
        The images.
    rows
        Which rows of the source are meant.
    texts
        Returns the labels of rows [start, stop) of the source.
    where
        The column, for messages.
    """

    source: Source
    rows: range
    texts: Texts
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
        return self.texts(rows.start, rows.stop)


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
    texts = _texts(source, parsed.body, column)
    return Labels(source, range(start, stop), texts, f"{_FLAG} {column}")


def sample_ids_of(
    spec: str, options: ImageOptions, *, limit: int | None, visible: bool
) -> ListedNames:
    """Return the sample ids of a source's images, of which none is read."""
    parsed = parse_spec(spec)
    source = open_source(parsed.body, options, visible=visible)
    return ListedNames(source.sample_ids, range(*parsed.rows(len(source), limit)))


def _texts(source: Source, body: str, column: str) -> Texts:
    """Return what reads a column as labels."""
    try:
        values = values_of(source, column, _FLAG)
    except InputError as error:
        there = source.columns()
        if not all(each.kind == "name" for each in there.values()):
            raise
        raise InputError(
            f"{body} has no columns",
            where=f"{_FLAG} {column}",
            remedy="use --groups FILE.csv, or a parquet, datasets, webdataset, npz or h5 source"
            + "".join(f", or the column {name}" for name in there),
        ) from error
    return texts_of(values, what="label", where=f"{_FLAG} {column}")
