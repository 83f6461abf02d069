"""Sample ids of imported features: from an image source, from a file, or row numbers; and lists
of ids beside exported ones."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.index_pickle import is_pickle, read_index_pickle
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.picture_identity import pictures_identity
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.data.spec import parse_spec
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import name_at

IdsOf = Callable[[int, int], list[str]]
"""Returns the ids of samples [start, stop)."""

_NAMED_AT_MOST = 3


def choose_sample_ids(
    count: int, *, ids: Path | None, images: str | None, options: ImageOptions, visible: bool
) -> IdsOf:
    """Return what names the samples of an array of `count` rows, in its order.

    Parameters
    ----------
    count
        N, the number of samples.
    ids
        A file with one id a line, or a pickle of whole numbers.
    images
        A source of images, whose ids are taken. Without either, samples have their row numbers.
    options
        Which of its images are meant.
    visible
        Whether opening the images may draw a progress bar.

    Raises
    ------
    ConfigurationError
        If both are given.
    InputError
        If there are more or fewer ids than samples, or an id is empty or there twice.
    """
    if ids is not None and images is not None:
        raise ConfigurationError(
            "the ids are given twice", where="--ids and --images", remedy="give one of them"
        )
    if ids is not None:
        listed = read_ids(ids)
        _require_count(len(listed), count, ids)
        return listed.texts
    if images is not None:
        return _ids_of_images(images, options, count, visible)
    return lambda start, stop: [str(row) for row in range(start, stop)]


def _ids_of_images(images: str, options: ImageOptions, count: int, visible: bool) -> IdsOf:
    spec = parse_spec(images)
    source = open_source(spec.body, options, visible=visible)
    first, last = spec.rows(len(source), None)
    _require_count(last - first, count, images)
    return lambda start, stop: source.sample_ids(first + start, first + stop)


def pictures_of(images: str, options: ImageOptions, *, visible: bool) -> str:
    """Return the hash of the pictures whose ids are taken; parameters as `choose_sample_ids`.

    Raises
    ------
    InputError
        If the source cannot be opened.
    """
    spec = parse_spec(images)
    source = open_source(spec.body, options, visible=visible)
    rows = range(*spec.rows(len(source), None))
    return pictures_identity(source, rows, visible=visible)


def _require_count(found: int, count: int, where: object) -> None:
    if found != count:
        raise InputError(
            f"names {found} samples, the features are of {count}",
            where=where,
            remedy="give the ids of exactly these samples, in their order",
        )


@dataclass(frozen=True)
class ListedIds:
    """The ids in a file, one a line, read when they are asked for.

    Attributes
    ----------
    path
        The file.
    starts
        (N + 1,) int64: where each line begins, and where the last one ends.
    """

    path: Path
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, places: slice) -> list[bytes]:
        rows = range(len(self))[places]
        with self.path.open("rb") as file:
            file.seek(self.starts[rows.start])
            return [_name_in(file.readline()) for _ in rows]

    def texts(self, start: int, stop: int) -> list[str]:
        """Return the ids in lines [start, stop)."""
        return [name.decode() for name in self[start:stop]]


@dataclass(frozen=True)
class NumberedIds:
    """Whole numbers that are ids, as an index of rows of a data set holds them.

    Attributes
    ----------
    numbers
        (N,) int64.
    """

    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, places: slice) -> list[bytes]:
        return [str(number).encode() for number in self.numbers[places].tolist()]

    def texts(self, start: int, stop: int) -> list[str]:
        """Return the ids in places [start, stop)."""
        return [str(number) for number in self.numbers[start:stop].tolist()]


def read_ids(path: Path) -> ListedIds | NumberedIds:
    """Look through a file of ids: one a line, or a pickle of whole numbers.

    Raises
    ------
    InputError
        If it cannot be read, or an id is empty, holds a zero byte, or is there twice.
    """
    ids = NumberedIds(read_index_pickle(path)) if is_pickle(path) else _listed_ids(path)
    twins = NameIndex(ids).twins
    if len(twins):
        named = ", ".join(name_at(ids, int(place)) for place in twins[:_NAMED_AT_MOST])
        raise _no_ids(f"{len(twins)} ids are there more than once ({named})", path)
    return ids


def _listed_ids(path: Path) -> ListedIds:
    try:
        with open_regular(path) as file:
            return ListedIds(path, _line_starts(file, path))
    except OSError as error:
        raise unreadable(path, error) from error


def _line_starts(file: IO[bytes], path: Path) -> NDArray[np.int64]:
    starts = array("q", [0])
    for number, line in enumerate(file, start=1):
        name = _name_in(line)
        if not name or b"\0" in name:
            raise _no_ids(f"line {number} is {'not an id' if name else 'empty'}", path)
        try:
            name.decode()
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8", where=path, remedy="write one id a line") from error
        starts.append(starts[-1] + len(line))
    if len(starts) == 1:
        raise _no_ids("line 1 is empty", path)
    return np.array(starts, np.int64)


def _name_in(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _no_ids(what: str, path: Path) -> InputError:
    return InputError(what, where=path, remedy="give each sample one id of its own, a line")


def write_ids(path: Path, names: Iterable[bytes]) -> None:
    """Write ids (UTF-8), one a line.

    Raises
    ------
    InputError
        If an id holds a line break.
    """
    with path.open("wb") as file:
        for name in names:
            if b"\n" in name or name.endswith(b"\r"):
                raise InputError(
                    f"the sample id {name.decode(errors='replace')!r} holds a line break",
                    where="ids",
                    remedy="rename that image; ids are written one a line",
                )
            file.write(name + b"\n")
