"""Splits, the parts of a data set for training and testing: which there are, and which is meant.

Names of files and folders tell splits as in the library datasets: by the words train, validation
and test and their usual variants, and by `NAME-00000-of-00012`, as the hub calls its files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath

from dtrak_stream.errors import InputError

USUAL = "train"
"""What a source that tells no splits is all of."""
ALL = "all"
"""What all splits together are called."""

_WORDS = {
    "train": ("training", "train"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("testing", "test", "evaluation", "eval"),
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}
_WORD = re.compile(rf"(?:^|(?<=[-._ 0-9]))({'|'.join(_SPLIT_OF)})(?=[-._ 0-9]|$)", re.IGNORECASE)
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}\b.*")


def split_of_folder(name: str) -> str | None:
    """Return the split that a folder of this name holds, None if the name tells none."""
    return _SPLIT_OF.get(name.lower())


def by_split(files: Iterable[Path], below: Path) -> dict[str, tuple[Path, ...]]:
    """Return the files of each split that their names, or the folders below `below`, tell.

    Files whose names tell none are in none. Nothing is returned if they are all of one part that
    is called like no split.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for file in files:
        split = _split_of_file(file.relative_to(below) if file.is_relative_to(below) else file)
        if split is not None:
            found[split] = (*found.get(split, ()), file)
    return {} if len(found) == 1 and not found.keys() <= _WORDS.keys() else found


def chosen_split(there: Collection[str], split: str | None, where: object) -> str | None:
    """Return which split is meant, None for all that a source holds.

    Parameters
    ----------
    there
        The splits there are; none for a source that tells none.
    split
        What the user asked for, if anything.
    where
        The source, for messages.

    Raises
    ------
    InputError
        If there is no such split, or there are several and none was asked for.
    """
    named = ", ".join(there)
    if split is None and len(there) > 1:
        raise InputError(
            f"it has several splits ({named})",
            where=where,
            remedy="choose one with --split (of queries with --query-split), or all for all of "
            "them, or name the folder or files of one",
        )
    if split is None or split == ALL or (split == USUAL and not there):
        return None
    meant = split if split in there else _SPLIT_OF.get(split.lower(), split)
    if meant in there:
        return meant
    if there:
        raise InputError(
            f"no split {split!r}; it has {named}",
            where=where,
            remedy="name one of them with --split (of queries with --query-split)",
        )
    raise InputError(
        f"no split {split!r}; nothing in it tells splits",
        where=where,
        remedy="leave out --split (of queries --query-split), or name a source that has splits",
    )


def _split_of_file(path: PurePath) -> str | None:
    for folder in path.parts[:-1]:
        if split := split_of_folder(folder):
            return split
    if shard := _SHARD.fullmatch(path.name):
        return _SPLIT_OF.get(shard["split"].lower(), shard["split"])
    told = {_SPLIT_OF[word.lower()] for word in _WORD.findall(path.name)}
    return told.pop() if len(told) == 1 else None
