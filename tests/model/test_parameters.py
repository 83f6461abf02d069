"""Choosing parameters, and the hash of all weights."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.parameters import (
    choose_parameters,
    weights_hash,
)
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


def test_lora_chooses_the_parameters_of_adapters():
    network = torch.nn.Module()
    network.lora_a, network.laura = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    assert list(choose_parameters(network, "lora")) == ["lora_a.weight", "lora_a.bias"]


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ("lora", "no parameter of the model matches; names look like: conv_in.weight, "),
        ("no such name", "no parameter of the model matches; names look like: conv_in.weight, "),
        ("(", "not a regular expression (missing ), unterminated subpattern at position 0); use "),
    ],
)
def test_a_choice_without_parameters_is_refused(choice, why):
    with pytest.raises(ConfigurationError) as refusal:
        choose_parameters(build_unet(), choice)
    assert str(refusal.value).startswith(f"--parameters {choice}: {why}")


def test_a_refusal_shows_three_names():
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    with pytest.raises(
        ConfigurationError, match=r"names look like: 0.weight, 0.bias, 1.weight, \."
    ):
        choose_parameters(network, "x")


def test_weights_hash_sees_one_changed_bit():
    first, second = build_unet(), build_unet()
    assert weights_hash(first) == weights_hash(second)
    with torch.no_grad():
        bias = next(p for n, p in second.named_parameters() if n == "conv_in.bias")
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    assert weights_hash(first) != weights_hash(second)


def test_weights_hash_sees_names_shapes_types_and_buffers():
    def module(name="a", shape=(2, 3), dtype=torch.float32, buffer=0.0):
        made = torch.nn.Module()
        made.register_parameter(
            name, torch.nn.Parameter(torch.zeros(shape, dtype=dtype), dtype.is_floating_point)
        )
        made.register_buffer("kept", torch.tensor(buffer))
        return made

    others = [module("b"), module(shape=(3, 2)), module(dtype=torch.int32), module(buffer=1.0)]
    assert len({weights_hash(each) for each in (module(), *others)}) == 5


def test_weights_hash_is_that_of_stores_of_earlier_versions():
    network = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(network.weight)
    torch.nn.init.zeros_(network.bias)
    assert weights_hash(network) == "46d63dd7af6072765264f475356de063"
