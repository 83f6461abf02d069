"""Folders laid out as D-TRAK's scripts leave them, with a few numbers in each file."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 4
TRAIN, TIMESTEPS, SUBSETS, SEEDS = 12, 7, 8, 3
STORED, USED, PART = 16, 10, 5
"""Columns of a feature, of which the first are used, and rows of a part of the features."""
QUERIES = {"val": 6, "gen": 5}


@dataclass(frozen=True)
class DTrakFolders:
    """One data set of D-TRAK, below a folder of its own.

    Attributes
    ----------
    root
        Its folder.
    rows
        Row of the data set of each training image, and of each validation image.
    features
        (N, Z) and (Q, Z) float32 of training images and sets of queries.
    masks
        (M, N) bool: the training images of each subset.
    losses
        (E, S, M, T, Q) float32 of each set of queries.
    model
        What models are called.
    """

    root: Path
    rows: dict[str, list[int]]
    features: dict[str, np.ndarray]
    masks: np.ndarray
    losses: dict[str, np.ndarray]
    model: str

    @property
    def indices(self) -> Path:
        return self.root / "data/indices/12-0.5"

    @property
    def saved(self) -> Path:
        return self.root / "saved/12-0.5"

    @property
    def models(self) -> Path:
        return self.saved / "lds-val"

    def loss_file(self, subset: int, seed: int, noise: int, query: str) -> Path:
        return self.models / f"{self.model}-sub-{subset}-{seed}" / f"e-{noise}-{query}.pkl"

    def feature_files(self, images: str) -> list[Path]:
        """Return the parts of the features of some images, as a shell lists them."""
        folder = self.saved / self.model / "features-0"
        return sorted(folder.glob(f"{self.model}-{images}-keys-*.npy"))


def dump(path: Path, held: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(held))
    return path


def in_batches(losses: np.ndarray) -> list[list[np.ndarray]]:
    """Return losses (T, Q) as they are written: batches of lists of T arrays (B,)."""
    starts = range(0, losses.shape[1], BATCH)
    return [[step[first : first + BATCH] for step in losses] for first in starts]


def d_trak_folders(root: Path, model: str = "ddpm", seed: int = 0) -> DTrakFolders:
    """Write such folders: the losses of a model fall with what its images say of a query."""
    random = np.random.default_rng(seed)
    drawn = random.permutation(1000)
    rows = {"train": drawn[:TRAIN].tolist(), "val": drawn[TRAIN : TRAIN + 6].tolist()}
    counts = {"train": TRAIN, **QUERIES}
    features = {
        name: random.normal(size=(count, STORED)).astype(np.float32)
        for name, count in counts.items()
    }
    masks = np.stack([random.permutation(TRAIN) < TRAIN // 2 for _ in range(SUBSETS)])
    losses = {name: _losses(random, masks, features, name) for name in QUERIES}
    folders = DTrakFolders(root, rows, features, masks, losses, model)
    _write(folders)
    return folders


def _losses(
    random: np.random.Generator, masks: np.ndarray, features: dict[str, np.ndarray], query: str
) -> np.ndarray:
    influence = features[query] @ features["train"].T  # (Q, N)
    known: np.ndarray = 50 - masks @ influence.T  # (M, Q)
    shape = (3, SEEDS, SUBSETS, TIMESTEPS, QUERIES[query])
    noisy: np.ndarray = known[:, None] + 8 * random.normal(size=shape)
    return noisy.astype(np.float32)


def _write(folders: DTrakFolders) -> None:
    for name, rows in folders.rows.items():
        dump(folders.indices / f"idx-{name}.pkl", rows)
    train = np.array(folders.rows["train"])
    for subset, mask in enumerate(folders.masks):
        chosen = train[mask][::-1].tolist()
        dump(folders.indices / "lds-val" / f"sub-idx-{subset}.pkl", chosen)
    for query, losses in folders.losses.items():
        for noise, seed, subset in np.ndindex(*losses.shape[:3]):
            path = folders.loss_file(subset, seed, noise, query)
            dump(path, in_batches(losses[noise, seed, subset]))
    folder = folders.saved / folders.model / "features-0"
    folder.mkdir(parents=True)
    for name, features in folders.features.items():
        for part, first in enumerate(range(0, len(features), PART)):
            ending = f"keys-{part}-10-{STORED}-mean-squared-l2-norm-uniform.npy"
            path = folder / f"{folders.model}-{name}-{ending}"
            path.write_bytes(features[first : first + PART].tobytes())
