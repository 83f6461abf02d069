"""Tar files of images as rows of a data set: whatever lies beside an image stays bytes.

A sample is what has one name up to its first dot (webdataset). What is not an image decides neither
whether images are read nor which; labels are decoded when they are asked for.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from dtrak_stream.data.passed_over import PassedOver
from dtrak_stream.data.pixels import IMAGE_SUFFIXES
from dtrak_stream.data.source import unreadable
from dtrak_stream.errors import InputError

KEY_COLUMN, URL_COLUMN = "__key__", "__url__"
ANY_IMAGE = "image"
"""The column of images whose names have several endings, where each sample has one."""

_NAME = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<ending>[^/]+)", re.DOTALL)
_MOST_COLUMNS = 256
_BLOCK = 512


@dataclass
class TarColumns:
    """What the names of the members of some tar files tell.

    Attributes
    ----------
    images, others
        Endings of images, and of what lies beside them.
    several
        Whether a sample has several images.
    passed_over
        Members that are no samples, such as those without an ending.
    """

    images: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    several: bool = False
    passed_over: PassedOver = field(default_factory=PassedOver)

    @property
    def joined(self) -> bool:
        """Return whether images of several endings make one column."""
        return len(self.images) > 1 and not self.several

    def features(self) -> datasets.Features:
        """Return the columns of the data set: images, and bytes for what lies beside them."""
        names = {ANY_IMAGE} if self.joined else self.images
        columns = {KEY_COLUMN: datasets.Value("string"), URL_COLUMN: datasets.Value("string")}
        columns |= {name: datasets.Value("binary") for name in sorted(self.others - names)}
        return datasets.Features(columns | {name: datasets.Image() for name in sorted(names)})


def survey(files: Sequence[Path]) -> TarColumns:
    """Look at the names of all members.

    Raises
    ------
    InputError
        If a file is no tar file, or cut off, or there are no images, or names have too many
        endings to be webdataset's.
    """
    found = TarColumns()
    for file in files:
        key, endings = "", set[str]()
        for name, ending, _ in _members(file, links=found.passed_over):
            if name != key or not name:
                _take_note(found, endings)
                key, endings = name, set()
            endings.add(ending)
        _take_note(found, endings)
        _refuse_too_many(found, file)
    if not found.images:
        raise InputError(
            f"no image column; it has {', '.join(sorted(found.others)) or 'no samples'}",
            where=", ".join(map(str, files[:2])),
            remedy="name a tar file with members such as 0001.png",
        )
    return found


def samples(
    paths: Sequence[str], columns: Sequence[str], *, joined: bool
) -> Iterator[dict[str, Any]]:
    """Yield each sample that has an image, in the order of the files; raises as `survey`.

    Parameters
    ----------
    paths
        The tar files.
    columns
        What each sample has, be it None.
    joined
        Whether images go to one column, whatever their endings.
    """
    empty = dict.fromkeys(columns)
    for path in paths:
        sample: dict[str, Any] = {}
        for key, ending, content in _members(Path(path), read=True):
            column = ANY_IMAGE if joined and _is_image(ending) else ending
            if sample.get(KEY_COLUMN) != key or column in sample:
                yield from _complete(sample, empty)
                sample = {KEY_COLUMN: key, URL_COLUMN: path}
            sample[column] = _cell(key, ending, content)
        yield from _complete(sample, empty)


def _take_note(found: TarColumns, endings: set[str]) -> None:
    """Count the members of one sample."""
    images = set(filter(_is_image, endings))
    found.images |= images
    found.several |= len(images) > 1
    if images:
        found.others |= endings - images
    for ending in endings if not images else ():
        found.passed_over.note(f"member.{ending}" if ending else "member")


def _complete(sample: dict[str, Any], empty: dict[str, None]) -> Iterator[dict[str, Any]]:
    if any(isinstance(cell, dict) for cell in sample.values()):
        yield {**empty, **sample}


def _cell(key: str, ending: str, content: bytes) -> Any:
    return {"path": f"{key}.{ending}", "bytes": content} if _is_image(ending) else content


def _is_image(ending: str) -> bool:
    return f".{ending.rsplit('.', 1)[-1]}" in IMAGE_SUFFIXES


def _members(
    path: Path, *, read: bool = False, links: PassedOver | None = None
) -> Iterator[tuple[str, str, bytes]]:
    """Yield key, ending and content of each file; no key but the name of what is no sample.

    Links are not followed, be it to another member, but counted.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # or all of them are kept
                if links is not None and (member.issym() or member.islnk()):
                    links.note("member.link")
                if not member.isfile() or Path(member.name).name.startswith("."):
                    continue
                match = _NAME.fullmatch(member.name)
                if match is None:
                    yield "", "", b""
                    continue
                file = archive.extractfile(member) if read else None
                content = file.read() if file is not None else b""
                yield match["key"], match["ending"].lower(), content
            _refuse_cut_off(archive, path)
    except (OSError, tarfile.TarError) as error:
        raise unreadable(path, error) from error


def _refuse_cut_off(archive: tarfile.TarFile, path: Path) -> None:
    """Refuse a file without the zeros that stand behind its last member: that stops no reader."""
    with path.open("rb") as file:
        file.seek(archive.offset)
        end = file.read(_BLOCK)
    if any(end) or len(end) < _BLOCK:
        raise InputError(
            "is cut off or damaged behind its first members",
            where=path,
            remedy="it may be truncated or corrupt; fetch or write it again",
        )


def _refuse_too_many(found: TarColumns, path: Path) -> None:
    if len(found.images) + len(found.others) > _MOST_COLUMNS:
        raise InputError(
            f"its members have more than {_MOST_COLUMNS} different endings",
            where=path,
            remedy="name members KEY.ENDING, where KEY has no dot and is one for each sample",
        )
