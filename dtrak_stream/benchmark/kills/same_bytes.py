"""A store held against one that was computed undisturbed, byte by byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import xxhash


@dataclass(frozen=True)
class Compared:
    """How many shards of a store were held against those of another, and which are others."""

    shards: int
    others: tuple[str, ...]


def compare(store: Path, undisturbed: Path, names: Iterable[str]) -> Compared:
    """Compare the shards of two stores that have these names."""
    wanted = sorted(names)
    others = [name for name in wanted if _hash(store, name) != _hash(undisturbed, name)]
    return Compared(len(wanted), tuple(others))


def shard_names(store: Path) -> list[str]:
    """Return the names of the shards of a store, in order."""
    return sorted(path.name for path in (store / "shards").glob("[0-9]*.h5"))


def copy_without(store: Path, copy: Path, names: Iterable[str]) -> None:
    """Make a copy of a store that lacks some shards; the others are the same files (links)."""
    left_out = set(names)
    shutil.copytree(store, copy, ignore=shutil.ignore_patterns("shards", "features.h5"))
    (copy / "shards").mkdir()
    for name in shard_names(store):
        if name not in left_out:
            os.link(store / "shards" / name, copy / "shards" / name)


def _hash(store: Path, name: str) -> str:
    path = store / "shards" / name
    return xxhash.xxh3_128_hexdigest(path.read_bytes()) if path.is_file() else "missing"
