"""Sample ids of imported features: from an image source, from a file, or row numbers; and lists
of ids beside exported ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dtrak_stream.data import ImageOptions
from dtrak_stream.data.kinds import open_source
from dtrak_stream.data.source import unreadable
from dtrak_stream.data.spec import parse_spec
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.support.durable import durable_path

IdsOf = Callable[[int, int], list[str]]
"""Returns the ids of samples [start, stop)."""

_NAMED_AT_MOST = 3


def choose_sample_ids(count: int, *, ids: Path | None, images: str | None, visible: bool) -> IdsOf:
    """Return what names the samples of an array of `count` rows, in its order.

    Parameters
    ----------
    count
        N, the number of samples.
    ids
        A file with one id a line.
    images
        A source of images, whose ids are taken. Without either, samples have their row numbers.
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
        names = read_ids(ids)
        _require_count(len(names), count, ids)
        return lambda start, stop: names[start:stop]
    if images is not None:
        return _ids_of_images(images, count, visible)
    return lambda start, stop: [str(row) for row in range(start, stop)]


def _ids_of_images(images: str, count: int, visible: bool) -> IdsOf:
    spec = parse_spec(images)
    source = open_source(spec.body, ImageOptions(), visible=visible)
    first, last = spec.rows(len(source), None)
    _require_count(last - first, count, images)
    return lambda start, stop: source.sample_ids(first + start, first + stop)


def _require_count(found: int, count: int, where: object) -> None:
    if found != count:
        raise InputError(
            f"names {found} samples, the features are of {count}",
            where=where,
            remedy="give the ids of exactly these samples, in their order",
        )


def read_ids(path: Path) -> list[str]:
    """Return the ids in a file, one a line.

    Raises
    ------
    InputError
        If it cannot be read, or an id is empty, holds a zero byte, or is there twice.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8", where=path, remedy="write one id a line") from error
    lines = text.removesuffix("\n").replace("\r\n", "\n").split("\n")
    problem = _problem(lines)
    if problem:
        raise InputError(problem, where=path, remedy="give each sample one id of its own, a line")
    return lines


def _problem(lines: Sequence[str]) -> str:
    for number, line in enumerate(lines, start=1):
        if not line or "\0" in line:
            return f"line {number} is {'not an id' if line else 'empty'}"
    if len(set(lines)) == len(lines):
        return ""
    seen: set[str] = set()
    twice = dict.fromkeys(line for line in lines if line in seen or seen.add(line))  # type: ignore[func-returns-value]
    named = ", ".join(list(twice)[:_NAMED_AT_MOST])
    return f"{len(twice)} ids are there more than once ({named})"


def write_ids(path: Path, names: Iterable[bytes]) -> None:
    """Write ids (UTF-8), one a line, durably.

    Raises
    ------
    InputError
        If an id holds a line break.
    """
    with durable_path(path) as partial, partial.open("wb") as file:
        for name in names:
            if b"\n" in name or name.endswith(b"\r"):
                raise InputError(
                    f"the sample id {name.decode(errors='replace')!r} holds a line break",
                    where=path,
                    remedy="rename that image; ids are written one a line",
                )
            file.write(name + b"\n")
