"""Stores of random features, written by the writer that all commands use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.store.writer import StoreWriter


def write_synthetic_store(
    root: Path, *, samples: int, proj_dim: int, rows_per_shard: int, seed: int
) -> None:
    """Write a store of normal features whose variances fall as 1 / j, as spectra of gradients do.

    Parameters
    ----------
    root
        Its folder.
    samples, proj_dim, rows_per_shard
        N, k, and the rows of a shard, float16.
    seed
        Of the numbers.
    """
    fingerprint = synthetic_fingerprint(
        f"synthetic {seed}", samples=samples, proj_dim=proj_dim, rows_per_shard=rows_per_shard
    )
    stores = StoreSet.of(root, (fingerprint,))
    deviations = np.arange(1, proj_dim + 1, dtype=np.float32) ** -0.5
    with StoreWriter(stores, redo_corrupt=False, visible=False, bad_row="not finite") as writer:
        missing = writer.take_up()
        writer.begin()
        for shard in writer.claim_free(missing):
            rows = stores.shard_rows(shard)
            normal = np.random.default_rng((seed, shard))
            features = normal.standard_normal((len(rows), proj_dim), np.float32) * deviations
            writer.write(ComputedRows(shard, features, [f"{row:08d}" for row in rows]))
        writer.settle()


def synthetic_fingerprint(
    images: str, *, samples: int, proj_dim: int, rows_per_shard: int
) -> Fingerprint:
    """Return what is told of a float16 store that no model and no images were needed for.

    `images` tells one such store from another.
    """
    return Fingerprint(
        model="synthetic",
        weights="synthetic",
        parameters="synthetic",
        num_parameters=proj_dim,
        output_function="square",
        timesteps=(0,),
        noise_keying="shared",
        noise_draws=1,
        seed=0,
        projector="sketch",
        projector_version=1,
        proj_dim=proj_dim,
        image_shape="1x8x8",
        precision="float32",
        images=images,
        samples=samples,
        dtype="float16",
        rows_per_shard=rows_per_shard,
    )
