"""The stages that are killed: what each computes, and which of its files must come out alike."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score

IMAGES = 128
"""How many images are featurized."""
_QUERIES = 24
_FEATURES = FeatureOptions(timesteps="1", proj_dim=256, rows_per_shard=8, device="cpu")
_EXECUTION = ExecutionOptions(engine="hooked", batch_size=8)  # rounding depends on it
_GRAM_MEMORY, _SCORE_MEMORY = "1MB", "480KB"  # so little that there are several pieces of work
_DIFFERS = {"config.yaml", "gram.config.yaml", "scores.config.yaml", "checked.json"}
"""Files that tell where and when something was made."""

_STAGES: Mapping[str, Callable[[Any], object]] = {
    "features": featurize,
    "Gram matrix": compute_gram,
    "scores": score,
}
STAGES = tuple(_STAGES)


@dataclass(frozen=True)
class Turn:
    """All stages in a folder of their own, of the images in an npy file."""

    images: Path
    folder: Path

    def job(self, stage: str) -> Any:
        """Return the configuration of a stage."""
        train, query = self.folder / "train", self.folder / "query"
        gram = self.folder / "gram.h5"
        if stage == "features":
            return self._featurizing(train, "")
        if stage == "Gram matrix":
            return GramConfig(train, gram, GramOptions(_GRAM_MEMORY), quiet=True)
        options = ScoreOptions(method="d-trak", damping="1", save_scores="yes", top_k=5)
        scores = self.folder / "scores.h5"
        return ScoreConfig((train,), (query,), (gram,), scores, options, _SCORE_MEMORY, quiet=True)

    def featurize_queries(self) -> None:
        """Featurize a few of the images as queries."""
        featurize(self._featurizing(self.folder / "query", f"[:{_QUERIES}]"))

    def finished(self) -> dict[str, tuple[int, int]]:
        """Return inode and time of writing of all that is finished, by its name."""
        found = {}
        for path in self._files():
            if path.suffix == ".h5":
                status = path.stat()
                found[path.relative_to(self.folder).as_posix()] = status.st_ino, status.st_mtime_ns
        return found

    @property
    def begun(self) -> Path:
        """Return the file, beside the folder, where processes note whose features they begin."""
        return self.folder.with_name(self.folder.name + "-begun")

    def begun_shards(self) -> list[tuple[int, int]]:
        """Return process and shard whenever features were begun to be computed, in that order."""
        lines = self.begun.read_text().splitlines() if self.begun.exists() else []
        notes = [tuple(map(int, line.split())) for line in lines]
        return [(process, sample // _FEATURES.rows_per_shard) for process, sample in notes]

    def contents(self) -> dict[str, bytes]:
        """Return every file with its bytes, without what tells where and when it was made."""
        found = {}
        for path in self._files():
            if path.name not in _DIFFERS:
                found[path.relative_to(self.folder).as_posix()] = _content(path)
        return found

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _featurizing(self, store: Path, range_of_images: str) -> FeaturizeConfig:
        images = f"{self.images}{range_of_images}"
        return FeaturizeConfig(images, store, features=_FEATURES, execution=_EXECUTION, quiet=True)


def work(stage: str, job: Any, begun: Path) -> None:
    """Do a stage in a process of its own, on one thread, and say nothing.

    Before features of samples are computed, the process and their names are noted in `begun`.
    """
    torch.set_num_threads(1)
    _note_what_is_begun(begun)
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        _STAGES[stage](job)


def _note_what_is_begun(notes: Path) -> None:
    compute = Featurizer.features

    def noting(maker: Featurizer, samples: SampleBatch) -> torch.Tensor:
        lines = "".join(f"{os.getpid()} {name}\n" for name in samples.ids)
        with notes.open("ab", buffering=0) as file:
            file.write(lines.encode())  # in one go: several processes may be at it
        return compute(maker, samples)

    Featurizer.features = noting  # type: ignore[method-assign,assignment]


def _content(path: Path) -> bytes:
    if path.name != "store.json":
        return path.read_bytes()
    plan = json.loads(path.read_text())
    plan.pop("run", None)  # how fast this machine was
    return json.dumps(plan, sort_keys=True).encode()
