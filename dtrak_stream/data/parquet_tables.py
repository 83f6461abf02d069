"""Tables of rows in parquet files, mapped from the copy that the library datasets makes of them."""

from __future__ import annotations

import threading
from typing import Any

from dtrak_stream.data.dataset_columns import DatasetColumns
from dtrak_stream.data.hugging_face import parquet_rows
from dtrak_stream.data.places import Place


class ParquetTable:
    """The rows of one parquet file.

    Attributes
    ----------
    columns
        Their names.
    """

    def __init__(self, place: Place) -> None:
        rows = parquet_rows(place, visible=False).with_format(None)
        self.columns = tuple(rows.features)
        self._length = len(rows)
        # data sets promise nothing to threads
        self._reading = threading.Lock()
        self._columns = DatasetColumns(rows, "")

    def __len__(self) -> int:
        return self._length

    def values(self, column: str, start: int, stop: int) -> list[Any]:
        """Return what a column holds in rows `[start, stop)`; None where it holds nothing."""
        with self._reading:
            return list(self._columns.column(column, start, stop))
