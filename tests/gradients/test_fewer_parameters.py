"""Gradients of the last layers alone: the backward pass ends where the first of them begins."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.norm_inputs import given_gradients, norms_of
from dtrak_stream.model.parameters import choose_parameters
from tests.gradients.test_timestep_batched import IMAGES, gathered, make_engine

LAST = r"^(up_blocks\.1|conv_norm_out|conv_out)\."
BELOW = ("conv_in", "time_embedding", "down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0")


def engine_of(kind, folder, parameters):
    exact = make_engine(folder, parameters=parameters)
    if kind == "exact":
        return exact
    return HookedEngine(exact.task, served_parameters(exact.task), 6)


@pytest.mark.parametrize("kind", ["exact", "hooked"])
def test_no_backward_pass_runs_below_the_first_chosen_layer(model_folder, kind):
    engine = engine_of(kind, model_folder, LAST)
    network, seen = engine.task.denoiser.network, {}

    def noting(name):
        def note(_layer, _args, output):
            first = output[0] if isinstance(output, tuple) else output
            seen[name] = first.requires_grad

        return note

    for name in (*BELOW, "up_blocks.1"):
        network.get_submodule(name).register_forward_hook(noting(name))
    gathered(engine, IMAGES[:2], ["a", "b"])
    assert seen == {**dict.fromkeys(BELOW, False), "up_blocks.1": True}


@pytest.mark.parametrize("kind", ["exact", "hooked"])
def test_gradients_of_the_last_layers_are_those_of_all_at_their_places(model_folder, kind):
    every = make_engine(model_folder)
    last = [re.search(LAST, name) is not None for name in every.task.parameters]
    sizes = torch.tensor([each.numel() for each in every.task.parameters.values()])
    columns = torch.tensor(last).repeat_interleave(sizes)
    expected = gathered(every)[:, columns]
    found = gathered(engine_of(kind, model_folder, LAST))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_the_input_of_a_norm_behind_frozen_layers_is_given_a_gradient_and_no_other():
    network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2), nn.GroupNorm(1, 2))
    chosen = choose_parameters(network, r"[12]\.bias")
    norms = norms_of(network, chosen)
    assert norms == [network[1], network[2]]
    with given_gradients(norms) as given:
        network(torch.ones(1, 2, 3, 3))
    (end,) = given
    assert end.requires_grad
    assert end.grad_fn is None
    network(torch.ones(1, 2, 3, 3))
    assert len(given) == 1  # no hook is left
