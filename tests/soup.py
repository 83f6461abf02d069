"""A command with a few options of every kind, for tests of how options are read and run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Spices:
    """What goes into the soup."""

    pepper: float = 0.5
    """Grams of it."""
    salted: bool = True
    """Whether there is salt."""
    stirred: Literal["auto", "yes", "no"] = "auto"
    """When to stir."""
    note: str = ""
    """What else there is to say."""


@dataclass(frozen=True)
class Soup:
    """Cook a soup."""

    pot: Path
    """Where it is cooked."""
    name: str = "soup"
    """What it is called."""
    bowls: int | None = None
    """How many it fills."""
    herbs: tuple[str, ...] = ()
    """What grows in the garden."""
    spices: tyro.conf.OmitArgPrefixes[Spices] = field(default_factory=Spices)
    plates: tuple[int, ...] = ()
    """What goes below the bowls."""
    motto: str = ""
    """What stands on the pot."""


def written(folder: Path, text: str | bytes) -> str:
    """Write a file of options; return its path."""
    path = folder / "options.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)
