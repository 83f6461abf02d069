"""Features are compared where they were made alike, whatever images they are of."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.features.comparing import refuse_other_features
from dtrak_stream.store.fingerprint import Fingerprint
from tests.conftest import fingerprint_of_features

PLAIN = fingerprint_of_features(3, 4)
ALONG = dataclasses.replace(
    PLAIN, output_function="trajectory(averaged)", timesteps=(1,), noise_draws=5
)


def changed(fingerprint: Fingerprint, name: str) -> Fingerprint:
    value: Any = getattr(fingerprint, name)
    other: Any = f"{value}x"
    if not isinstance(value, str):
        other = (1,) if name == "timesteps" else (value or 0) + 1
    return dataclasses.replace(fingerprint, **{name: other})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Fingerprint)])
def test_only_images_and_storage_may_differ(name):
    other = changed(PLAIN, name)
    if name in ("images", "samples", "dtype", "rows_per_shard"):
        refuse_other_features(PLAIN, other, where="store")
    else:
        with pytest.raises(FingerprintMismatchError, match=name):
            refuse_other_features(PLAIN, other, where="store")


def test_queries_along_a_path_are_compared_with_simple_features_and_no_others():
    simple = dataclasses.replace(PLAIN, output_function="simple")
    refuse_other_features(simple, ALONG, where="store")
    with pytest.raises(FingerprintMismatchError, match="output_function differs"):
        refuse_other_features(PLAIN, ALONG, where="store")
    with pytest.raises(FingerprintMismatchError, match="seed differs"):
        refuse_other_features(simple, changed(ALONG, "seed"), where="store")


def test_pixels_of_other_sizes_are_refused_with_the_option_that_makes_them_equal():
    small = dataclasses.replace(PLAIN, output_function="pixels", image_shape="3x20x30")
    large = dataclasses.replace(small, image_shape="3x40x40", num_parameters=4800)
    with pytest.raises(FingerprintMismatchError, match=r"'3x20x30', requested '3x40x40'.*--size"):
        refuse_other_features(small, large, where="store")
    refuse_other_features(small, changed(small, "images"), where="store")
