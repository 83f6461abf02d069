"""Choosing parameters, and the hash of all weights."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.parameters import choose_parameters, weights_hash
from tests.conftest import build_unet


def test_all_parameters_are_chosen_in_their_order():
    unet = build_unet()
    assert list(choose_parameters(unet, "all")) == [n for n, _ in unet.named_parameters()]


def test_a_regular_expression_chooses_and_the_rest_is_frozen():
    unet = build_unet()
    chosen = choose_parameters(unet, r"attentions.*weight$")
    assert chosen
    assert all("attentions" in name and name.endswith("weight") for name in chosen)
    assert {n for n, p in unet.named_parameters() if p.requires_grad} == set(chosen)


@pytest.mark.parametrize("choice", ["lora", "no such name", "("])
def test_a_choice_without_parameters_is_refused(choice):
    with pytest.raises(ConfigurationError, match="--parameters"):
        choose_parameters(build_unet(), choice)


def test_weights_hash_sees_one_changed_bit():
    first, second = build_unet(), build_unet()
    assert weights_hash(first) == weights_hash(second)
    with torch.no_grad():
        bias = next(p for n, p in second.named_parameters() if n == "conv_in.bias")
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    assert weights_hash(first) != weights_hash(second)
