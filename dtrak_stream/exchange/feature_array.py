"""Features that other programs left on disk: npy files or raw memory maps, read by rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.npy_files import read_npy
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.exchange.feature_names import FeatureName, in_order
from dtrak_stream.exchange.joined_rows import JoinedRows, Part
from dtrak_stream.exchange.options import ArrayOptions

ARRAY_DTYPES = ("float16", "float32", "float64")
_NPY_MAGIC = b"\x93NUMPY"


class FeatureArray:
    """Mapped arrays of features, of which some rows in some order and the first columns count.

    Parameters
    ----------
    rows
        (M, Z) float.
    used_dim
        k, the number of columns that count.
    order
        (N,) rows of the array in the order of the store; None for all of them as they lie.
    name
        What the name of the files says; None for names that say nothing.
    """

    def __init__(
        self,
        rows: JoinedRows,
        used_dim: int,
        order: NDArray[np.integer[Any]] | None,
        name: FeatureName | None = None,
    ) -> None:
        self._rows = rows
        self._order = order
        self.stored_dim = rows.shape[1]
        self.used_dim = used_dim
        self.name = name

    def __len__(self) -> int:
        return len(self._rows) if self._order is None else len(self._order)

    def block(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return samples [start, stop): (stop - start, k) float64."""
        if self._order is None:
            rows = self._rows.block(start, stop, self.used_dim)
        else:
            rows = self._rows.at(self._order[start:stop], self.used_dim)
        return np.asarray(rows).astype(np.float64, order="C")

    def place(self, sample: int) -> tuple[Path, int]:
        """Return the file that holds a sample, and which row of that file it is."""
        return self._rows.place(sample if self._order is None else int(self._order[sample]))


def open_feature_array(options: ArrayOptions) -> FeatureArray:
    """Map the arrays and hold them against what was declared, and what their names say.

    Raises
    ------
    InputError
        If one cannot be read, is truncated, or is not what was declared.
    ConfigurationError
        If a declaration is missing or cannot be understood.
    """
    shape = _declared_shape(options.array_shape)
    dtype = _declared_dtype(options.array_dtype)
    files = in_order(options.array)
    parts = [Part(path, _mapped(path, name, options, shape, dtype)) for path, name in files]
    _require_same(parts, files[0][1])
    rows = JoinedRows(parts)
    _require_declared(rows, shape, dtype, parts[0].path)
    used_dim = rows.shape[1] if options.used_dim is None else options.used_dim
    if not 1 <= used_dim <= rows.shape[1]:
        raise ConfigurationError(
            f"the array has {rows.shape[1]} columns",
            where=f"--used-dim {used_dim}",
            remedy=f"give a number from 1 to {rows.shape[1]}",
        )
    order = None if options.row_order is None else _read_order(options.row_order, len(rows))
    return FeatureArray(rows, used_dim, order, files[0][1])


def _mapped(
    path: Path,
    name: FeatureName | None,
    options: ArrayOptions,
    shape: tuple[int, int] | None,
    dtype: np.dtype[Any] | None,
) -> NDArray[Any]:
    if _is_npy(path):
        rows = _mapped_npy(path)
    elif name is not None:
        rows = _mapped_as_named(path, name, options)
    else:
        rows = _mapped_raw(path, options, shape, dtype)
    _require_features(rows, path)
    if name is not None and rows.shape[1] != name.columns:
        raise InputError(
            f"has {rows.shape[1]} columns, and {name.columns} by its name",
            where=path,
            remedy="give the file under the name it was written with",
        )
    return rows


def _mapped_as_named(path: Path, name: FeatureName, options: ArrayOptions) -> NDArray[Any]:
    """Map raw float32 rows, whose length is in the name and whose number in the size."""
    dtype, size = np.dtype(np.float32), path.stat().st_size
    rows, rest = divmod(size, name.columns * dtype.itemsize)
    if rest or not rows:
        raise InputError(
            f"has {size} bytes, which is no number of rows of {name.columns} float32, as its name "
            "says",
            where=path,
            remedy="it may be truncated, or renamed; copy it again",
        )
    return np.memmap(path, dtype, "r", shape=(rows, name.columns), order=options.array_order)


def _require_same(parts: list[Part], name: FeatureName | None) -> None:
    """Refuse parts that do not make one array."""
    first = parts[0].rows
    for number, (path, rows) in enumerate(parts):
        problem = ""
        if rows.shape[1] != first.shape[1]:
            problem = f"has {rows.shape[1]} columns and {parts[0].path.name} {first.shape[1]}"
        elif rows.dtype != first.dtype:
            problem = f"holds {rows.dtype} and {parts[0].path.name} {first.dtype}"
        elif name is not None and len(rows) != len(first) and not _is_shorter_end(parts, number):
            problem = f"has {len(rows)} rows and {parts[0].path.name} {len(first)}"
        if problem:
            raise InputError(
                problem,
                where=path,
                remedy="give whole parts of one set of features, of which only the last is shorter",
            )


def _is_shorter_end(parts: list[Part], number: int) -> bool:
    return number == len(parts) - 1 and len(parts[number].rows) < len(parts[0].rows)


def _is_npy(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(_NPY_MAGIC)) == _NPY_MAGIC
    except OSError as error:
        raise unreadable(path, error) from error


def _mapped_npy(path: Path) -> NDArray[Any]:
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, EOFError) as error:
        raise InputError(
            f"cannot be read as an npy file ({str(error).splitlines()[0]})",
            where=path,
            remedy="it may be empty or truncated; write it again with numpy.save, as plain floats",
        ) from error
    return mapped


def _mapped_raw(
    path: Path,
    options: ArrayOptions,
    shape: tuple[int, int] | None,
    dtype: np.dtype[Any] | None,
) -> NDArray[Any]:
    if shape is None or dtype is None:
        raise ConfigurationError(
            "not an npy file, so its shape and type have to be declared",
            where=path,
            remedy="give --array-shape ROWSxCOLUMNS and --array-dtype float32",
        )
    size = path.stat().st_size
    rows, rest = divmod(size, shape[1] * dtype.itemsize)
    is_whole = not rest and rows > 0
    if (len(options.array) == 1 and rows != shape[0]) or not is_whole:
        fitting = f"{rows} rows" if is_whole else "no whole number of rows"
        raise InputError(
            f"has {size} bytes, {shape[0]}x{shape[1]} {dtype} takes "
            f"{shape[0] * shape[1] * dtype.itemsize}",
            where=path,
            remedy=f"correct --array-shape or --array-dtype ({shape[1]} columns of {dtype} would "
            f"make it {fitting})",
        )
    return np.memmap(path, dtype, "r", shape=(rows, shape[1]), order=options.array_order)


def _declared_shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        rows, columns = (int(part) for part in text.split("x"))
    except ValueError:
        rows = columns = 0
    if rows < 1 or columns < 1:
        raise ConfigurationError(
            "not a shape", where=f"--array-shape {text}", remedy="write rows x columns: 5000x65536"
        )
    return rows, columns


def _declared_dtype(name: str | None) -> np.dtype[Any] | None:
    if name is not None and name not in ARRAY_DTYPES:
        raise ConfigurationError(
            "not a type that features are read from",
            where=f"--array-dtype {name}",
            remedy=f"use one of: {', '.join(ARRAY_DTYPES)}",
        )
    return None if name is None else np.dtype(name)


def _require_features(rows: NDArray[Any], path: Path) -> None:
    if rows.ndim != 2 or 0 in rows.shape:
        raise InputError(
            f"an array of shape {rows.shape} is not features",
            where=path,
            remedy="give one of shape (samples, columns), flattened behind the samples",
        )
    if rows.dtype.newbyteorder("=") not in map(np.dtype, ARRAY_DTYPES):
        raise InputError(
            f"holds {rows.dtype}, not features",
            where=path,
            remedy=f"store one of: {', '.join(ARRAY_DTYPES)}",
        )


def _require_declared(
    rows: JoinedRows, shape: tuple[int, int] | None, dtype: np.dtype[Any] | None, path: Path
) -> None:
    problem = ""
    if shape is not None and shape != rows.shape:
        problem = f"its shape is {rows.shape}, {shape} was declared"
    if dtype is not None and dtype != rows.dtype.newbyteorder("="):
        problem = f"it holds {rows.dtype.name}, {dtype.name} was declared"
    if problem:
        raise InputError(
            problem,
            where=path,
            remedy="correct --array-shape or --array-dtype, or give the file that was meant",
        )


def _read_order(path: Path, count: int) -> NDArray[np.integer[Any]]:
    order = read_npy(path, holds="row numbers")
    problem = _order_problem(order, count)
    if problem:
        raise InputError(
            problem,
            where=path,
            remedy=f"give an npy file of integers from 0 to {count - 1}, each at most once",
        )
    return order


def _order_problem(order: NDArray[Any], count: int) -> str:
    if order.ndim != 1 or not len(order) or not np.issubdtype(order.dtype, np.integer):
        return "not a list of row numbers"
    outside = np.flatnonzero((order < 0) | (order >= count))
    if len(outside):
        return f"entry {outside[0]} is {order[outside[0]]}, and the array has {count} rows"
    values, counts = np.unique(order, return_counts=True)
    if len(values) < len(order):
        return f"names row {values[counts.argmax()]} more than once"
    return ""
