"""How many pairs fit in one pass is told by what autograd keeps of one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dtrak_stream.gradients import pass_memory
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.pass_memory import pairs_that_fit
from dtrak_stream.gradients.saved_bytes import bytes_saved
from tests.gradients.test_hooked_unet import unet_task


def test_what_is_kept_is_counted_once_and_without_the_weights():
    network = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 5, bias=False))
    numbers = torch.rand(3, 4)
    # the input for the first weight; the sigmoid's output for itself and for the second weight
    assert bytes_saved(lambda: network(numbers), network) == 4 * (3 * 4 + 3 * 6)


def test_a_pass_of_more_images_keeps_as_much_of_each(model_folder):
    task = unet_task(model_folder)

    def kept(count):
        samples = task.denoiser.made_up(count)
        pairs = task.pairs[:1]
        batch = task.noised(samples, pairs)
        return bytes_saved(lambda: task.values(task.output(batch), batch), task.denoiser.network)

    assert kept(8) == pytest.approx(8 * task.bytes_of_a_pair, rel=0.1)


def test_as_many_pairs_fit_as_there_is_memory_for(model_folder, monkeypatch):
    task = unet_task(model_folder)
    monkeypatch.setattr(pass_memory, "free_memory", lambda _: 5 * task.bytes_of_a_pair)
    assert pairs_that_fit(task) == 4
    monkeypatch.setattr(pass_memory, "free_memory", lambda _: 10)
    assert pairs_that_fit(task) == 1


def test_layer_rules_are_tried_with_fewer_pairs_where_memory_is_short(model_folder, monkeypatch):
    task, rows = unet_task(model_folder), []
    monkeypatch.setattr(pass_memory, "free_memory", lambda _: 15 * task.bytes_of_a_pair)
    noised = type(task).noised

    def watched(task, samples, pairs):
        rows.append(len(samples) * len(pairs))
        return noised(task, samples, pairs)

    monkeypatch.setattr(type(task), "noised", watched)
    assert served_parameters(task) == frozenset(task.parameters)
    assert max(rows) == 2
