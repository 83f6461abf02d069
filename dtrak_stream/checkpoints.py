"""Intermediate results that outlive a crash: named arrays, each checked when it is read back."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.durable import remove_partials, write_bytes, write_json
from dtrak_stream.progress import say


@dataclass(frozen=True)
class Checkpoints:
    """A scratch folder beside a result that is not finished yet.

    A checkpoint is a file whose name carries the checksum of its contents, so a damaged one is
    never used. All checkpoints belong to one plan; those of another plan are thrown away.

    Attributes
    ----------
    folder
        Where they are.
    """

    folder: Path

    @classmethod
    def beside(cls, result: Path, plan: Mapping[str, Any]) -> Checkpoints:
        """Open the checkpoints of `result`, keeping what an earlier run of `plan` left."""
        checkpoints = cls(result.with_name(result.name + ".parts"))
        checkpoints.folder.mkdir(parents=True, exist_ok=True)
        remove_partials(checkpoints.folder)
        plan_path = checkpoints.folder / "plan.json"
        text = json.dumps(plan, sort_keys=True)
        if plan_path.exists() and json.dumps(_read(plan_path), sort_keys=True) != text:
            say(f"{checkpoints.folder}: left by a run with other options, starting over")
            checkpoints.discard()
            checkpoints.folder.mkdir()
        write_json(plan_path, dict(plan))
        return checkpoints

    def save(self, name: str, **arrays: NDArray[Any]) -> None:
        """Keep `arrays` under `name`, on disk before this returns."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        content = buffer.getbuffer()
        checksum = xxhash.xxh3_128_hexdigest(content)
        write_bytes(self.folder / f"{name}.{checksum}.npz", content)

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays kept under `name`; None if there are none, or they are damaged."""
        for path in self.folder.glob(f"{name}.*.npz"):
            content = path.read_bytes()
            if path.name == f"{name}.{xxhash.xxh3_128_hexdigest(content)}.npz":
                with np.load(io.BytesIO(content)) as arrays:
                    return dict(arrays)
            say(f"{path}: damaged, computing it again")
            path.unlink()
        return None

    def names(self) -> set[str]:
        """Return the names under which something is kept."""
        return {path.name.split(".")[0] for path in self.folder.glob("*.npz")}

    def drop(self, name: str) -> None:
        """Remove what is kept under `name`."""
        for path in self.folder.glob(f"{name}.*.npz"):
            path.unlink()

    def discard(self) -> None:
        """Remove all of them, once the result is finished."""
        shutil.rmtree(self.folder)


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None
