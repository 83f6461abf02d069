"""Two stores with their Gram matrix, scored with any options, and the formula to compare with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions, ScoreResult
from dtrak_stream.scoring.run import prepare, score
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import write_shard
from dtrak_stream.store.stored_shard import read_shard
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.durable import write_json
from tests.conftest import store_of


def whole_numbers(rows: int, proj_dim: int, seed: int = 0) -> np.ndarray:
    """Features (rows, proj_dim) whose products are exact in float32."""
    return np.random.default_rng(seed).integers(-8, 9, (rows, proj_dim)).astype(np.float32)


def formula(train: np.ndarray, query: np.ndarray, damping: float) -> np.ndarray:
    """Scores (Q, N) as they are defined: phi_q (Phi^T Phi + lambda I)^-1 Phi^T, in float64."""
    phi, phi_q = train.astype(np.float64), query.astype(np.float64)
    kernel = phi.T @ phi + damping * np.eye(phi.shape[1])
    return phi_q @ np.linalg.solve(kernel, phi.T)


def close(scores: np.ndarray, expected: np.ndarray) -> bool:
    """Whether scores are those expected, up to float32 rounding."""
    return np.allclose(scores, expected, rtol=1e-5, atol=2e-6 * np.nanmax(np.abs(expected)))


@dataclass(frozen=True)
class Attribution:
    """A training and a query store, and the folder in which they are scored."""

    folder: Path
    train: FeatureStore
    query: FeatureStore

    @property
    def gram(self) -> Path:
        return self.folder / "gram.h5"

    @property
    def out(self) -> Path:
        return self.folder / "scores.h5"

    @property
    def parts(self) -> Path:
        return self.folder / "scores.h5.parts"

    def make_gram(self, form: Any = "auto") -> Attribution:
        compute_gram(
            GramConfig(self.train.layout.root, self.gram, GramOptions(gram_form=form), quiet=True)
        )
        return self

    def score(
        self, out: Path | None = None, *, memory_limit: str = "1GiB", **options: Any
    ) -> ScoreResult:
        return score(self.config(out, memory_limit=memory_limit, **options))

    def config(
        self, out: Path | None = None, *, memory_limit: str = "1GiB", **options: Any
    ) -> ScoreConfig:
        return ScoreConfig(
            train=self.train.layout.root,
            query=self.query.layout.root,
            gram=self.gram,
            out=out or self.out,
            options=ScoreOptions(**options),
            memory_limit=memory_limit,
            quiet=True,
        )

    def scores(self, **options: Any) -> np.ndarray:
        """Score and return all scores (Q, N)."""
        return read(self.score(**options).path)["scores"]

    def interrupt(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        after: int,
        error: type[BaseException] = KeyboardInterrupt,
        **options: Any,
    ) -> BaseException:
        """Score, but raise `error` once so many blocks are kept; return what comes out."""
        save, saved = Checkpoints.save, list[str]()

        def save_some(checkpoints: Checkpoints, name: str, **arrays: Any) -> None:
            if name.startswith("part-"):
                if len(saved) == after:
                    raise error
                saved.append(name)
            save(checkpoints, name, **arrays)

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", save_some)
            with pytest.raises(error) as stop:
                self.score(**options)
        assert len(self.kept()) == after
        return stop.value

    def kept(self) -> list[Path]:
        """The scored blocks of unfinished work."""
        return sorted(self.parts.glob("part-*.safetensors"))

    def smallest_limit(self, query_blocks: int, **options: Any) -> str:
        """The smallest memory limit that cuts the queries into at most so many blocks."""
        low, high = 0, 2**32  # too small, enough
        while high - low > 1:
            middle = (low + high) // 2
            if self._query_blocks(middle, **options) <= query_blocks:
                high = middle
            else:
                low = middle
        return str(high)

    def _query_blocks(self, limit: int, **options: Any) -> float:
        config = self.config(memory_limit=str(limit), **options)
        try:
            return len(prepare(config).plan.queries)
        except MemoryLimitError:
            return float("inf")


def attribution_of(
    folder: Path, train: np.ndarray, query: np.ndarray, *, form: str = "auto", **options: Any
) -> Attribution:
    """Write both stores and compute the Gram matrix."""
    stores = (
        store_of(folder / name, features, images=name, **options)
        for name, features in (("train", train), ("query", query))
    )
    return Attribution(folder, *stores).make_gram(form)


def read(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of an HDF5 file."""
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def attributes(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return dict(file.attrs)


def with_residuals(store: FeatureStore, residual: np.ndarray) -> FeatureStore:
    """Add residuals (N,) to a store, as one of gradients of unit length has them."""
    fingerprint, rows_of = store.fingerprint, store.layout.shard_rows
    known = "timestep_weights" in {field.name for field in dataclasses.fields(fingerprint)}
    if known:
        changes: dict[str, Any] = {"timestep_weights": "unit-gradient"}
        fingerprint = dataclasses.replace(fingerprint, **changes)
    layout = StoreLayout(store.layout.root, fingerprint)
    for shard in range(layout.num_shards):
        path, rows = layout.shard_path(shard), rows_of(shard)
        values = residual[rows.start : rows.stop].astype(np.float32)
        if known:
            content = read_shard(path, store.fingerprint.hash())
            features = np.array(content.features)
            changes = {"features": features, "residual": values}
            write_shard(path, dataclasses.replace(content, **changes), fingerprint.hash())
        else:
            with h5py.File(path, "a") as file:
                file["residual"] = values
    write_json(layout.plan_path, layout.plan())
    return FeatureStore.open(layout.root)


@pytest.fixture
def small(tmp_path: Path) -> Attribution:
    """24 training samples in 4 shards, 5 queries, k = 64: dual form."""
    return attribution_of(tmp_path, whole_numbers(24, 64), whole_numbers(5, 64, 1))
