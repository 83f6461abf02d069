"""Which features may be compared: those made alike, and those along sampling paths with plain ones.

For stores that are there: nothing here computes a feature, or takes long to import.
"""

from __future__ import annotations

from dtrak_stream.errors import refuse_differences
from dtrak_stream.features.names import kind_of, vector_of
from dtrak_stream.store.fingerprint import STORAGE_FIELDS, Fingerprint

_KINDS_OF_JOURNEYS = {"trajectory", "simple"}
_FIELDS_OF_PATHS = ("output_function", "timesteps", "noise_draws")


def is_along_a_path(output_function: str) -> bool:
    """Return whether features are along the paths that images were generated on."""
    return kind_of(output_function) == "trajectory"


def refuse_other_features(train: Fingerprint, query: Fingerprint, *, where: object) -> None:
    """Refuse to compare the features of training samples with queries made otherwise.

    Images, their number, and how rows are stored may differ. Features along a sampling path are
    compared with those of `simple`, at whatever timesteps and draws.

    Raises
    ------
    FingerprintMismatchError
        Naming the first field that differs, and both values.
    """
    if train.output_function == query.output_function and _is_of_pixels(train):
        refuse_differences(
            [("image_shape", train.image_shape, query.image_shape)],
            where=where,
            remedy="featurize both with the same --size, or queries by dtrak-stream attribute, "
            "which gives them the shape of the training images",
        )
    if train.output_function == query.output_function and train.bandwidth is not None:
        refuse_differences(
            [("bandwidth", train.bandwidth, query.bandwidth)],
            where=where,
            remedy=f"featurize the queries with --bandwidth {train.bandwidth:g}, that of the "
            "training images",
        )
    of_a_journey = {kind_of(each.output_function) for each in (train, query)} == _KINDS_OF_JOURNEYS
    train.refuse_other(
        query,
        may_differ={*STORAGE_FIELDS, *(_FIELDS_OF_PATHS if of_a_journey else ())},
        where=where,
        remedy="featurize both stores with the same model and options",
    )


def _is_of_pixels(fingerprint: Fingerprint) -> bool:
    return vector_of(fingerprint.output_function) == "pixels"
