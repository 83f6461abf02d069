"""Unit gradients and several functions: one float64 backward pass for each, written out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.conftest import build_unet
from tests.gradients.networks import (
    Network,
    assert_rows_close,
    batch_of,
    gathered,
    images_of,
    task_of,
)

IDS = [f"image {i}" for i in range(6)]


def small_unet():
    unet = build_unet(channels=2, size=8)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return unet


@pytest.fixture(scope="module")
def unet():
    return small_unet()


def slow_pair_gradients(task, images, function):
    """The gradient of every sample at every pair, alone: (samples, pairs, p) float64."""
    network = task.denoiser.network.double()
    rows = []
    for image, name in zip(images.double(), IDS):
        for pair in task.pairs:
            drawn = task.noise.draw(
                tuple(image.shape), sample_id=name, pairs=[pair], device=torch.device("cpu")
            )
            t = torch.tensor([pair[0]])
            noisy, target = task.denoiser.schedule.noisy_and_target(image[None], drawn.double(), t)
            value = function(task.denoiser.predict(noisy, t), target, t).sum()
            found = torch.autograd.grad(value, list(task.parameters.values()), allow_unused=True)
            flat = [
                torch.zeros(p.numel()).double() if g is None else g.flatten()
                for g, p in zip(found, task.parameters.values())
            ]
            rows.append(torch.cat(flat))
    network.float()
    return torch.stack(rows).reshape(len(images), len(task.pairs), -1)


def unit_average(gradients):
    """(samples, pairs, p) -> (samples, p)."""
    return (gradients / gradients.norm(dim=2, keepdim=True)).mean(dim=1)


def engines(task, pairs_per_pass=1000) -> list[Any]:
    return [
        TimestepBatchedEngine(task, pairs_per_pass=min(pairs_per_pass, 4)),
        HookedEngine(task, served_parameters(task), pairs_per_pass),
    ]


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
def test_unit_gradients_are_divided_by_their_length_before_the_average(unet, keying):
    noise = ImageNoise(0, keying)
    task = task_of(unet, unit_gradients=True, noise=noise, noise_draws=2, name="avg")
    images = images_of(task, 6)
    expected = unit_average(slow_pair_gradients(task, images, task.output_function))
    assert served_parameters(task) == frozenset(task.parameters)
    for engine in engines(task):
        assert_rows_close(gathered(engine, images, IDS), expected)


@pytest.mark.parametrize("pairs_per_pass", [1, 2, 7])
def test_unit_gradients_do_not_depend_on_the_size_of_a_pass(unet, pairs_per_pass):
    task = task_of(unet, unit_gradients=True, name="simple")
    images = images_of(task, 6)
    for engine, other in zip(engines(task), engines(task, pairs_per_pass)):
        assert_rows_close(gathered(other, images, IDS), gathered(engine, images, IDS).double())


def test_the_loss_scale_drops_out_of_unit_gradients(unet):
    task = task_of(unet, unit_gradients=True)
    images = images_of(task, 2)
    for index in (0, 1):
        task.scale.value = 1.0
        plain = gathered(engines(task)[index], images, IDS[:2])
        task.scale.value = 256.0
        assert_rows_close(gathered(engines(task)[index], images, IDS[:2]), plain.double())


def test_a_gradient_of_length_zero_counts_nothing():
    """With a weight of zero, the gradient of the output's square is zero everywhere."""
    layer = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    nn.init.zeros_(layer.weight)
    task = task_of(Network(layer), unit_gradients=True)
    for engine in engines(task):
        assert not gathered(engine, images_of(task, 2), IDS[:2]).any()


def test_a_gradient_that_is_not_finite_stays_so():
    layer = nn.Conv2d(2, 2, 3, padding=1)
    nn.init.constant_(layer.weight, 3e38)
    task = task_of(Network(layer), unit_gradients=True)
    both: list[Any] = [TimestepBatchedEngine(task)]
    both.append(HookedEngine(task, frozenset(task.parameters), 9))
    for engine in both:
        out = torch.zeros(2, engine.num_parameters)

        def receive(part, out=out):
            rows = slice(part.first_row, part.first_row + len(part.block))
            out[rows, part.offset : part.offset + part.block.shape[1]] += part.block

        engine.stream(batch_of(images_of(task, 2), IDS), receive)
        assert not out.isfinite().all(dim=1).any()


class Twice(nn.Module):
    """One layer in two places: the lengths of its two parts are not that of their sum."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.layer(torch.sin(self.layer(x)))


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.before = nn.Conv2d(2, 2, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor([[[0.5]], [[-1.5]]]))

    def forward(self, x):
        return self.scale * torch.sin(self.before(x))


@pytest.mark.parametrize("body", [Twice, Scaled])
def test_unit_gradients_are_left_to_the_exact_engine_where_lengths_are_out_of_reach(body):
    torch.manual_seed(0)
    task = task_of(Network(body()), unit_gradients=True)
    assert served_parameters(dataclasses.replace(task, unit_gradients=False))
    assert served_parameters(task) == frozenset()
    images = images_of(task, 3)
    expected = unit_average(slow_pair_gradients(task, images, task.output_function))
    assert_rows_close(gathered(TimestepBatchedEngine(task), images, IDS[:3]), expected)


@pytest.mark.parametrize("unit", [False, True])
def test_several_functions_come_side_by_side(unet, unit):
    task = task_of(unet, name="avg", noise_draws=2)
    names = ("avg", "simple", "l2")
    functions = [OutputFunction(name, task.denoiser.schedule) for name in names]
    task = dataclasses.replace(task, more_functions=tuple(functions[1:]), unit_gradients=unit)
    images = images_of(task, 4)
    slow = [slow_pair_gradients(task, images, each) for each in functions]
    expected = [unit_average(each) if unit else each.mean(dim=1) for each in slow]
    for engine in engines(task):
        assert engine.num_parameters == 3 * task.num_parameters
        for found, wanted in zip(gathered(engine, images, IDS[:4]).chunk(3, dim=1), expected):
            assert_rows_close(found, wanted)


def test_parameters_without_a_rule_join_in_for_several_functions():
    torch.manual_seed(0)
    task = task_of(Network(Scaled()), name="avg")
    more = (OutputFunction("square", task.denoiser.schedule),)
    task = dataclasses.replace(task, more_functions=more)
    assert served_parameters(task) == {"body.before.weight", "body.before.bias"}
    images = images_of(task, 3)
    exact, fast = (gathered(engine, images, IDS[:3]) for engine in engines(task))
    assert_rows_close(fast, exact.double())


@pytest.mark.parametrize(
    ("functions", "unit", "passes"), [(1, False, 1), (3, False, 3), (1, True, 2), (2, True, 4)]
)
def test_a_pass_of_many_images_goes_back_once_for_each_function(functions, unit, passes):
    """One forward pass; with unit gradients another backward pass for the lengths."""
    unet = small_unet()  # hooks stay on it
    task = task_of(unet, name="avg", unit_gradients=unit)
    more = [OutputFunction("simple", task.denoiser.schedule) for _ in range(functions - 1)]
    task = dataclasses.replace(task, more_functions=tuple(more))
    forward, backward = recorded_calls(unet.conv_in, unet.conv_out)
    engine = HookedEngine(task, frozenset(task.parameters), 1000)
    engine.stream(batch_of(images_of(task, 4), IDS), lambda _: None)
    engine.close()
    assert (len(forward), len(backward)) == (1, passes)


def test_the_exact_engine_goes_forward_once_a_pass_and_back_once_for_each_function():
    for functions in (1, 3):
        unet = small_unet()  # hooks stay on it
        task = task_of(unet, name="avg", noise_draws=2)
        more = [OutputFunction("simple", task.denoiser.schedule) for _ in range(functions - 1)]
        task = dataclasses.replace(task, more_functions=tuple(more))
        forward, backward = recorded_calls(unet.conv_in, unet.conv_out)
        engine = TimestepBatchedEngine(task, pairs_per_pass=4)  # 6 pairs: two passes an image
        engine.stream(batch_of(images_of(task, 2), IDS), lambda _: None)
        assert (len(forward), len(backward)) == (4, 4 * functions)


def recorded_calls(first, last):
    """Return lists that grow with every forward pass of a network, and every backward pass."""
    forward: list[int] = []
    backward: list[int] = []
    first.register_forward_hook(lambda *_: forward.append(1))
    last.register_full_backward_hook(lambda *_: backward.append(1))
    return forward, backward
