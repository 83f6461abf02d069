"""Intermediate results that outlive a crash: named arrays, each checked when it is read back."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.support.durable import PARTIAL_SUFFIX, remove_partials, write_bytes, write_json
from dtrak_stream.support.progress import say

_SUFFIX = ".safetensors"
_PLAN_NAME = "plan.json"
_CHECKPOINT = re.compile(r"\.[0-9a-f]{32}\.safetensors$")


@dataclass(frozen=True)
class Checkpoints:
    """A scratch folder beside a result that is not finished yet.

    A checkpoint is a file whose name carries the checksum of its contents, so a damaged one is
    never used. All checkpoints belong to one plan; those of another plan are thrown away. One
    object knows what lay there when it first looked, and what it kept and dropped since.

    Attributes
    ----------
    folder
        Where they are.
    """

    folder: Path

    @classmethod
    def beside(cls, result: Path, plan: Mapping[str, Any]) -> Checkpoints:
        """Open the checkpoints of `result`, keeping what an earlier run of `plan` left.

        Raises
        ------
        InputError
            If the folder holds anything else.
        """
        checkpoints = cls(_folder_beside(result))
        checkpoints._refuse_foreign()
        checkpoints._discard_other_plan(plan)
        checkpoints.folder.mkdir(parents=True, exist_ok=True)
        remove_partials(checkpoints.folder)
        write_json(checkpoints._plan_path, dict(plan))
        return checkpoints

    @classmethod
    def refuse_foreign(cls, result: Path) -> None:
        """Refuse what lies where checkpoints of `result` go, and was made by somebody else.

        Raises
        ------
        InputError
            Naming what is there: it would be removed with the checkpoints at the end.
        """
        cls(_folder_beside(result))._refuse_foreign()

    @classmethod
    def discard_leftovers(cls, result: Path, identity: Mapping[str, Any]) -> None:
        """Remove what a run that was killed just after it finished `result` left beside it.

        Parameters
        ----------
        result
            A finished result.
        identity
            What its plan said, all of it or in part; checkpoints of other plans are kept.

        Raises
        ------
        InputError
            If the folder holds anything else.
        """
        leftovers = cls(_folder_beside(result))
        leftovers._refuse_foreign()
        plan = leftovers._stored_plan()
        if leftovers.folder.exists() and (plan is None or identity.items() <= plan.items()):
            leftovers.discard()

    def save(self, name: str, **arrays: NDArray[Any]) -> None:
        """Keep `arrays` of numbers under `name`, on disk before this returns."""
        # safetensors takes the memory of an array as it lies, whatever its strides
        dense = {key: np.asarray(array, order="C") for key, array in arrays.items()}
        content = safetensors.numpy.save(dense)
        path = self.folder / _file_name(name, content)
        write_bytes(path, content)
        self._paths.setdefault(name, set()).add(path)

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays kept under `name`; None if there are none, or they are damaged."""
        for path in sorted(self._paths.get(name, ())):
            content = path.read_bytes()
            if _is_whole(path, content):
                return safetensors.numpy.load(content)
            say(f"{path}: damaged, computing it again")
            self._remove(name, path)
        return None

    def damaged(self) -> list[Path]:
        """Return the files that are not what they were when they were kept; all are read."""
        kept = sorted(path for paths in self._paths.values() for path in paths)
        return [path for path in kept if not _is_whole(path, path.read_bytes())]

    def require(self, name: str, *, what: str, remedy: str) -> dict[str, NDArray[Any]]:
        """Return the arrays kept under `name`, which were there before.

        Raises
        ------
        CorruptFileError
            If they are damaged: `what` they are, and what to do.
        """
        kept = self.load(name)
        if kept is None:
            raise CorruptFileError(
                f"{what} ({name}) was damaged since it was written",
                where=self.folder,
                remedy=f"run the same command again; {remedy}",
            )
        return kept

    def names(self) -> set[str]:
        """Return the names under which something is kept."""
        return set(self._paths)

    def kept_bytes(self) -> int:
        """Return how much room all of them take."""
        return sum(path.stat().st_size for paths in self._paths.values() for path in paths)

    def drop(self, name: str) -> None:
        """Remove what is kept under `name`."""
        for path in sorted(self._paths.get(name, ())):
            self._remove(name, path)

    def discard(self) -> None:
        """Remove all of them, once the result is finished."""
        while self.folder.exists():
            with contextlib.suppress(FileNotFoundError):  # another process removes them, too
                shutil.rmtree(self.folder)
        self._paths.clear()

    def _remove(self, name: str, path: Path) -> None:
        path.unlink()
        self._paths[name].discard(path)
        if not self._paths[name]:
            del self._paths[name]

    @cached_property
    def _paths(self) -> dict[str, set[Path]]:
        """Return the files by the name they are kept under: the folder is looked through once."""
        paths: dict[str, set[Path]] = {}
        for path in self.folder.glob("*" + _SUFFIX):
            paths.setdefault(_kept_under(path), set()).add(path)
        return paths

    @property
    def _plan_path(self) -> Path:
        return self.folder / _PLAN_NAME

    def _stored_plan(self) -> dict[str, Any] | None:
        try:
            plan = json.loads(self._plan_path.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return plan if isinstance(plan, dict) else None

    def _refuse_foreign(self) -> None:
        if not os.path.lexists(self.folder):
            return
        foreign = [self.folder.name]
        if self.folder.is_dir():
            foreign = sorted(path.name for path in self.folder.iterdir() if not _is_ours(path.name))
        if foreign:
            raise InputError(
                f"unfinished work is kept there, and it holds {foreign[0]}"
                if self.folder.is_dir()
                else "unfinished work is kept there, and it is no folder",
                where=self.folder,
                remedy="move that away, or give the result another name",
            )

    def _discard_other_plan(self, plan: Mapping[str, Any]) -> None:
        # without a plan, they are the rest of checkpoints that were being removed in a crash
        if not self.folder.exists() or self._stored_plan() == json.loads(json.dumps(plan)):
            return
        say(f"{self.folder}: left by a run with other options, starting over")
        self.discard()


def _is_ours(name: str) -> bool:
    return (
        name == _PLAN_NAME or name.endswith(PARTIAL_SUFFIX) or _CHECKPOINT.search(name) is not None
    )


def _is_whole(path: Path, content: bytes) -> bool:
    return path.name == _file_name(_kept_under(path), content)


def _kept_under(path: Path) -> str:
    return path.name.split(".")[0]


def _file_name(name: str, content: bytes) -> str:
    return f"{name}.{xxhash.xxh3_128_hexdigest(content)}{_SUFFIX}"


def _folder_beside(result: Path) -> Path:
    return result.with_name(result.name + ".parts")
