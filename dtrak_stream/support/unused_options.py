"""Options that mean nothing for what was asked: nobody is left to think that they did something."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeVar

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.progress import say

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def without_unused(options: Options, unused: Collection[str], why: str) -> Options:
    """Return options with those that are not used as if they had not been given, and say which.

    Parameters
    ----------
    options
        A dataclass with a default for each of them.
    unused
        Names of its fields.
    why
        What is not there that they are about.
    """
    given = _given(options, unused)
    if not given:
        return options
    say(f"{', '.join(given.values())}: not used, {why}")
    defaults = _defaults(options)
    return dataclasses.replace(options, **{name: defaults[name] for name in given})


def refuse_unused(options: DataclassInstance, unused: Collection[str], why: str) -> None:
    """Refuse options that are not used; parameters are those of `without_unused`.

    Raises
    ------
    ConfigurationError
        Naming those that were given.
    """
    given = _given(options, unused)
    if given:
        raise ConfigurationError(
            f"not used, {why}", where=", ".join(given.values()), remedy="leave it out"
        )


def _given(options: DataclassInstance, names: Collection[str]) -> dict[str, str]:
    """Return those options, with their flags, that are not at their defaults."""
    defaults = _defaults(options)
    return {
        name: f"--{name.replace('_', '-')}"
        for name in names
        if getattr(options, name) != defaults[name]
    }


def _defaults(options: DataclassInstance) -> dict[str, Any]:
    return {each.name: each.default for each in dataclasses.fields(options)}
