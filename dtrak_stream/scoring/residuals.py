"""The residuals that das needs beside the features of a store."""

from __future__ import annotations

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.store import FeatureStore
from dtrak_stream.store.shard import FloatArray


def residuals(store: FeatureStore) -> FloatArray:
    """Return r_n of every row: (N,) float32; see `FeatureStore.residuals`.

    r_n is the root mean squared error of the model's prediction for sample n.

    Raises
    ------
    ConfigurationError
        If the gradients were not brought to unit length per timestep, with residuals.
    CorruptFileError
        If a shard has lost them.
    """
    if not store.fingerprint.has_residuals:
        raise ConfigurationError(
            "has no residuals and unit-length gradients, which das needs",
            where=store.layout.root,
            remedy="make both stores with tools/featurize.py --output-function avg "
            "--timestep-weights unit-gradient",
        )
    return store.residuals()
