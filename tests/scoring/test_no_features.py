"""A training store without anything to compare says what is the matter with it."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.store.quarantine import QuarantinedSample, append_quarantine
from tests.scoring.conftest import attribution_of, whole_numbers


def refusal(attribution) -> str:
    with pytest.raises(ConfigurationError) as refused:
        attribution.score()
    assert not list(attribution.folder.glob("scores.h5"))
    return str(refused.value)


def test_features_of_zero_are_told_with_what_they_are_of(tmp_path):
    told = refusal(attribution_of(tmp_path, np.zeros((9, 64)), whole_numbers(2, 64)))
    assert told.startswith(
        f"{tmp_path / 'train'}: the features of all 9 samples are zero: no parameter of model "
        "changes square at timesteps 0, 500; choose another --output-function, --timesteps"
    )
    assert "at t = 0 alone" in told


def test_a_store_without_features_is_told_with_the_reason_most_samples_have(tmp_path):
    attribution = attribution_of(tmp_path, np.full((9, 64), np.nan), whole_numbers(2, 64))
    reasons = ["not an image", *["its gradient holds NaN or inf"] * 8]
    append_quarantine(
        attribution.train.layout.quarantine_path,
        [QuarantinedSample(row, f"{row}", reason) for row, reason in enumerate(reasons)],
    )
    told = refusal(attribution)
    assert told.startswith(
        f"{tmp_path / 'train'}: none of its 9 samples has a feature: its gradient holds NaN or "
        "inf; see quarantine.jsonl there, mend the model (NaN in its weights"
    )


def test_a_store_without_features_and_without_a_ledger_is_refused_as_well(tmp_path):
    told = refusal(attribution_of(tmp_path, np.full((3, 64), np.nan), whole_numbers(2, 64)))
    assert ": none of its 3 samples has a feature; see quarantine.jsonl" in told
