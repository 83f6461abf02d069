"""What no option may be, whatever it is about, and what every seed may be: refused when read."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dtrak_stream.errors import ConfigurationError

LARGEST_SEED = 2**64 - 1
"""Of any random numbers: seeds are kept in files as unsigned numbers of 64 bits."""

MAY_BE_EMPTY: Mapping[str, Any] = {"may be empty": True}
"""Metadata of a field that may be given as an empty text and is something else by default."""
REPEATABLE: Mapping[str, Any] = {"repeatable": True}
"""Metadata of an option that may be given several times, each time with further values."""
_OWN_FOLDERS = "own folders"


def own_folders(*below: str) -> Mapping[str, Any]:
    """Return metadata of a path where a command takes only folders that are new or empty.

    Parameters
    ----------
    below
        Names of these folders in the path; without any, it is the path itself.
    """
    return {_OWN_FOLDERS: below or ("",)}


def folders_taken(config: Any) -> Iterator[tuple[str, Path]]:
    """Yield the flag and the place of each folder that a command takes as its own."""
    for field in dataclasses.fields(config):
        given = getattr(config, field.name)
        for name in field.metadata.get(_OWN_FOLDERS, ()) if given is not None else ():
            yield f"--{field.name.replace('_', '-')}", given / name


def require_number(flag: str, value: int | None, least: int, largest: int | None = None) -> None:
    """Refuse a number that an option cannot be; None is an option that was not given.

    Parameters
    ----------
    flag
        The option.
    value
        What it is.
    least, largest
        The range it has to lie in; None is no upper end.

    Raises
    ------
    ConfigurationError
        Naming option, number and range.
    """
    if value is None or (value >= least and (largest is None or value <= largest)):
        return
    wanted = f"at least {least:,}" if largest is None else f"from {least:,} to {largest:,}"
    raise ConfigurationError(f"must be {wanted}", where=f"{flag} {value}", remedy="change it")


def require_seed(value: int, flag: str = "--seed") -> None:
    """Refuse a seed out of range; raises as `require_number`."""
    require_number(flag, value, 0, LARGEST_SEED)


def refuse_empty(words: Sequence[str], may_be_empty: Collection[str]) -> None:
    """Refuse an option on a command line that is given as nothing, as an unset variable is.

    Parameters
    ----------
    words
        The command line. A path that is empty would be the current folder.
    may_be_empty
        Flags of the options that are nothing by default.

    Raises
    ------
    ConfigurationError
        Naming the option.
    """
    flag = "command line"
    for word in words:
        if word.startswith("--"):
            flag, given, value = word.partition("=")
            is_empty = bool(given) and not value.strip()
        else:
            is_empty = not word.strip()
        if is_empty and flag.replace("_", "-") not in may_be_empty:
            raise ConfigurationError(
                "is given, and empty", where=flag, remedy="give a value, or leave it out"
            )


def refuse_immense(options: Mapping[str, Any]) -> None:
    """Refuse whole numbers that no file and no array can hold.

    Parameters
    ----------
    options
        Every option by its name.

    Raises
    ------
    ConfigurationError
        Naming the first of them.
    """
    for name, value in options.items():
        for number in _whole_numbers(value):
            require_number(f"--{name}", number, -LARGEST_SEED, LARGEST_SEED)


def _whole_numbers(value: object) -> Iterator[int]:
    if isinstance(value, list):
        for each in value:
            yield from _whole_numbers(each)
    elif isinstance(value, int):
        yield value
