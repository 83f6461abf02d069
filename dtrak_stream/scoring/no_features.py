"""Why a training store has nothing to compare: no sample of it has a feature, or all are zero."""

from __future__ import annotations

from collections import Counter

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore


def no_features(train: FeatureStore) -> ConfigurationError:
    """Return the refusal of a training store whose Gram matrix is zero.

    Parameters
    ----------
    train
        The features; which of several models they are of, the store's folder tells.
    """
    usable = int(train.usable().sum())
    return _all_zero(train, usable) if usable else _all_quarantined(train)


def _all_quarantined(train: FeatureStore) -> ConfigurationError:
    ledger = train.layout.quarantine_path
    reasons = Counter(entry.reason for entry in read_quarantine(ledger))
    why = "".join(f": {reason}" for reason, _ in reasons.most_common(1))
    return ConfigurationError(
        f"none of its {len(train):,} samples has a feature{why}",
        where=train.layout.root,
        remedy=f"see {ledger.name} there, mend the model (NaN in its weights, or --precision) or "
        "the images, and begin another --store (or --run)",
    )


def _all_zero(train: FeatureStore, usable: int) -> ConfigurationError:
    asked = train.fingerprint
    timesteps = ", ".join(map(str, asked.timesteps[:3])) + (", ..." if asked.timesteps[3:] else "")
    at = f" at timesteps {timesteps}" if timesteps else ""
    return ConfigurationError(
        f"the features of all {usable:,} samples are zero: no parameter of "
        f"{asked.model.partition(',')[0]} changes {asked.output_function}{at}",
        where=train.layout.root,
        remedy="choose another --output-function, --timesteps or --parameters in another --store "
        "(or --run): at t = 0 alone, or with a last layer of zeros, a model may have no gradient",
    )
