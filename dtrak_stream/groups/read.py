"""The groups of a store's samples, from a column of their data set or from a CSV file."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dtrak_stream.data.labels import Labels, open_labels
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.picture_identity import are_comparable, pictures_identity
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import FingerprintMismatchError, InputError
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.groups.table import GroupBuilder, GroupTable
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import Names, name_at
from dtrak_stream.support.progress import progress

_HEADERS = {"id", "sample_id", "sample id", "train_id"}
_CHUNK = 65_536
_NAMED_AT_MOST = 3
_OTHER_IMAGES = "give the training images that were featurized as --group-source"

Line = tuple[int, str, str]


def read_groups(
    options: GroupOptions,
    ids: Names,
    *,
    images: ImageOptions | None = None,
    pictures: str = "",
    memory_limit: int,
    visible: bool,
) -> GroupTable:
    """Return the groups of samples.

    Parameters
    ----------
    options
        Where the groups are written.
    ids
        The N samples.
    images
        How the images of `--group-source` were opened.
    pictures
        Hash of the pictures that the samples are of, which those of `--group-source` must have;
        "" if it is not known.
    memory_limit
        Bytes that names may take.
    visible
        Whether to draw progress bars.

    Raises
    ------
    InputError
        If the column or the file cannot be read, names no group, a sample that does not exist,
        or one twice.
    FingerprintMismatchError
        If the column belongs to other images.
    MemoryLimitError
        If there are more groups than fit.
    """
    where = options.groups or f"--group-column {options.group_column}"
    builder = GroupBuilder(len(ids), memory_limit=memory_limit, where=where)
    if options.groups is not None:
        _fill_from_file(builder, options.groups, ids)
    else:
        labels = _open(options, images, visible)
        _fill_from_column(builder, labels, ids, visible=visible)
        if pictures:
            _require_pictures(labels, len(ids), pictures, visible=visible)
    table = builder.table()
    if table.rest == len(ids):
        raise InputError(
            "no training sample has a group",
            where=where,
            remedy="name another column, or write the groups into a CSV",
        )
    return table


def _open(options: GroupOptions, images: ImageOptions | None, visible: bool) -> Labels:
    assert options.group_source is not None
    assert options.group_column is not None
    chosen = images or ImageOptions()
    if options.group_split is not None:
        chosen = replace(chosen, split=options.group_split)
    return open_labels(options.group_source, options.group_column, chosen, visible=visible)


def _fill_from_column(builder: GroupBuilder, labels: Labels, ids: Names, *, visible: bool) -> None:
    if len(labels) < len(ids):
        raise FingerprintMismatchError(
            "the number of training images",
            len(ids),
            len(labels),
            where=labels.where,
            remedy=_OTHER_IMAGES,
        )
    with progress(len(ids), description="reading groups", unit="sample", visible=visible) as bar:
        for start in range(0, len(ids), _CHUNK):
            stop = min(start + _CHUNK, len(ids))
            _require_same(labels, ids, start, stop)
            codes = [builder.code(label) for label in labels.labels(start, stop)]
            builder.index[start:stop] = codes
            bar.update(stop - start)


def _require_pictures(labels: Labels, count: int, pictures: str, *, visible: bool) -> None:
    found = pictures_identity(labels.source, labels.rows[:count], visible=visible)
    if are_comparable(pictures, found) and found != pictures:
        raise FingerprintMismatchError(
            "hash of the pictures of the training images",
            pictures,
            found,
            where=labels.where,
            remedy=_OTHER_IMAGES,
        )


def _require_same(labels: Labels, ids: Names, start: int, stop: int) -> None:
    found = labels.sample_ids(start, stop)
    for place, (name, stored) in enumerate(zip(found, ids[start:stop], strict=True), start=start):
        if name.encode() != stored:
            raise FingerprintMismatchError(
                f"the training image in row {place}",
                stored.decode(),
                name,
                where=labels.where,
                remedy=_OTHER_IMAGES,
            )


def _fill_from_file(builder: GroupBuilder, path: Path, ids: Names) -> None:
    index = NameIndex(ids)
    _refuse_twins(ids, index, path)
    seen = np.zeros(len(ids), np.bool_)
    unknown, unknown_count = list[str](), 0
    lines = _lines(path)
    while chunk := list(itertools.islice(lines, _CHUNK)):
        rows = index.places((name.encode() for _, name, _ in chunk), len(chunk))
        for row, (number, name, group) in zip(rows.tolist(), chunk, strict=True):
            if row < 0:
                unknown_count += 1
                unknown += [name] if len(unknown) < _NAMED_AT_MOST else []
                continue
            if seen[row]:
                raise InputError(
                    f"line {number} names the sample {name} a second time",
                    where=path,
                    remedy="give each sample one group",
                )
            seen[row] = True
            builder.index[row] = builder.code(group.strip() or None)
    if unknown_count:
        raise InputError(
            f"{unknown_count:,} of its ids are no training samples ({', '.join(unknown)}"
            f"{', ...' if unknown_count > len(unknown) else ''})",
            where=path,
            remedy="write ids as they stand in train_id of a scores file; remove the others",
        )


def _lines(path: Path) -> Iterator[Line]:
    """Yield line number, sample id and group of each line but the header."""
    try:
        with (
            open_regular(path) as content,
            io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as file,
        ):
            reader = csv.reader(file, strict=True)
            for first, fields in enumerate(reader):
                if not fields or (first == 0 and _is_header(fields)):
                    continue
                if len(fields) != 2:
                    raise InputError(
                        f"line {reader.line_num} has {len(fields)} fields",
                        where=path,
                        remedy="write a sample id and its group on each line",
                    )
                yield reader.line_num, fields[0], fields[1]
    except OSError as error:
        raise unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"is not CSV in UTF-8 ({error})", where=path, remedy="save it as CSV, UTF-8"
        ) from error


def _is_header(fields: list[str]) -> bool:
    return len(fields) == 2 and fields[0].strip().lower() in _HEADERS


def _refuse_twins(ids: Names, index: NameIndex, path: Path) -> None:
    if len(index.twins):
        raise InputError(
            f"two training samples are called {name_at(ids, int(index.twins[0]))}",
            where=path,
            remedy="use --group-column, which goes by rows",
        )
