"""Which options of scoring a method uses, and which are refused as they mean nothing for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.methods import METHODS
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions, used_by

FROM_RETRAINED = [method for method in METHODS.values() if method.needs == "subsets"]


@pytest.mark.parametrize("method", FROM_RETRAINED, ids=lambda method: method.name)
def test_what_a_method_of_retrained_models_is_computed_from_is_left_as_it_is(method):
    options = ScoreOptions(method.name, top_k=3, save_scores="yes")
    config = ScoreConfig(truth=Path("truth.npz"), loss_key="avg", subsets="0:8", options=options)
    assert used_by(method, config) == config


@pytest.mark.parametrize(
    ("flag", "options"),
    [
        ("--damping", {"damping": "0.1"}),
        ("--transform", {"transform": "square"}),
        ("--checkpoint-weights", {"checkpoint_weights": "1,2"}),
        ("--error-bars", {"error_bars": True}),
        ("--save-scores", {"save_scores": "no"}),
    ],
)
def test_an_option_of_scores_from_features_is_refused_for_retrained_models(flag, options):
    config = ScoreConfig(truth=Path("truth.npz"), options=ScoreOptions("datamodel", **options))
    with pytest.raises(ConfigurationError, match=f"^{flag}: not used, datamodel"):
        used_by(METHODS["datamodel"], config)


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        ("--train", {"train": Path("train")}),
        ("--query", {"query": Path("query")}),
        ("--gram", {"gram": Path("gram.h5")}),
        ("--groups", {"groups": GroupOptions(groups=Path("groups.csv"))}),
    ],
)
def test_features_and_groups_are_refused_for_retrained_models(flag, changes: dict[str, Any]):
    config = ScoreConfig(truth=Path("truth.npz"), **changes)
    with pytest.raises(ConfigurationError, match=f"^{flag}: not used, datamodel is computed from"):
        used_by(METHODS["datamodel"], config)
