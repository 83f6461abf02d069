"""The residuals that lie beside unit-gradient features in a store."""

from __future__ import annotations

import h5py
import numpy as np

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.store import FeatureStore
from dtrak_stream.store.shard import FloatArray

DATASET = "residual"
UNIT_GRADIENT = "unit-gradient"


def residuals(store: FeatureStore) -> FloatArray:
    """Return r_n of every row: (N,) float32.

    r_n is the root mean squared error of the model's prediction for sample n.

    Raises
    ------
    ConfigurationError
        If the store has none, or its gradients were not brought to unit length per timestep.
    """
    weights = getattr(store.fingerprint, "timestep_weights", UNIT_GRADIENT)
    parts = [_of_shard(store, shard) for shard in range(store.layout.num_shards)]
    found = [part for part in parts if part is not None]
    if weights != UNIT_GRADIENT or len(found) < len(parts):
        raise ConfigurationError(
            "has no residuals and unit-length gradients, which das needs",
            where=store.layout.root,
            remedy="make both stores with tools/featurize.py --output-function avg "
            "--timestep-weights unit-gradient",
        )
    return np.concatenate(found).astype(np.float32)


def _of_shard(store: FeatureStore, shard: int) -> FloatArray | None:
    store.shard(shard)  # checked
    with h5py.File(store.layout.shard_path(shard), "r") as file:
        return np.asarray(file[DATASET][()]) if DATASET in file else None
