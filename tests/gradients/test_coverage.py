"""Which parameters the layer rules serve is found by trying; the others take the exact engine."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn import functional as F

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.gradients import coverage
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from tests.conftest import build_unet
from tests.gradients.networks import (
    Network,
    assert_rows_close,
    gathered,
    images_of,
    slow_gradients,
    task_of,
)

IDS = [f"image {i}" for i in range(9)]


class Scaled(nn.Module):
    """A parameter of its own between two convolutions."""

    def __init__(self):
        super().__init__()
        self.before = nn.Conv2d(2, 2, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor([[[0.5]], [[-1.5]]]))
        self.after = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        return self.after(self.scale * torch.sin(self.before(x)))


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 3, 2, stride=2)
        self.up = nn.ConvTranspose2d(3, 2, 2, stride=2)

    def forward(self, x):
        return self.up(torch.sin(self.down(x)))


class Functional(nn.Module):
    """A layer whose weight is used without calling the layer."""

    def __init__(self):
        super().__init__()
        self.called = nn.Linear(6, 6)
        self.not_called = nn.Linear(6, 6)

    def forward(self, x):
        return F.linear(torch.sin(self.called(x)), self.not_called.weight)


class Mixed(nn.Module):
    """A layer that is called with the samples in the wrong axis."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Linear(6, 6)
        self.mixing = nn.Linear(6, 6)

    def forward(self, x):
        return self.mixing(self.fine(x).transpose(0, 2)).transpose(0, 2)


class Broadcast(nn.Module):
    """A layer that works once for the whole batch."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Linear(6, 6)
        self.once = nn.Linear(3, 6)

    def forward(self, x):
        return self.fine(x) * self.once(torch.ones(1, 3, dtype=x.dtype))


@pytest.mark.parametrize(
    ("module", "others"),
    [
        (Scaled, {"scale"}),
        (Transposed, {"up.weight", "up.bias"}),
        (Functional, {"not_called.weight"}),
        (Mixed, {"mixing.weight", "mixing.bias"}),
        (Broadcast, {"once.weight", "once.bias"}),
    ],
)
def test_what_has_no_rule_is_found_and_served_by_the_exact_engine(module, others):
    torch.manual_seed(0)
    task = task_of(Network(module()))
    served = served_parameters(task)
    assert {name.removeprefix("body.") for name in set(task.parameters) - served} == others
    engine = HookedEngine(task, served, pairs_per_pass=8)
    images = images_of(task, 5)
    assert_rows_close(gathered(engine, images, IDS), slow_gradients(task, images, IDS))


def test_attention_that_takes_weights_from_its_layers_is_found():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.into, self.out = nn.Linear(2, 4), nn.Linear(4, 2)

        def forward(self, x):
            tokens = self.into(x.flatten(2).transpose(1, 2))
            mixed, _ = self.attention(tokens, tokens, tokens)
            return self.out(mixed).transpose(1, 2).reshape(x.shape)

    torch.manual_seed(0)
    task = task_of(Network(Attention()))
    served = served_parameters(task)
    assert {"body.into.weight", "body.out.weight"} <= served
    assert "body.attention.out_proj.weight" not in served
    images = images_of(task, 3)
    engine = HookedEngine(task, served, pairs_per_pass=100)
    assert_rows_close(gathered(engine, images, IDS), slow_gradients(task, images, IDS))


def test_a_model_without_any_rule_is_left_to_the_exact_engine():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 1, 1))

        def forward(self, x):
            return self.weight * x

    assert served_parameters(task_of(Network(Bare()))) == frozenset()


LACKS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
]


def lacking_memory_above(pairs, lack):
    """Return what noises samples as a task does, and lacks memory for more pairs in a pass."""
    noised = GradientTask.noised

    def small_only(self, samples, some):
        if len(samples) * len(some) > pairs:
            raise lack
        return noised(self, samples, some)

    return small_only


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("lack", LACKS)
def test_lack_of_memory_is_not_taken_for_lack_of_a_rule(monkeypatch, lack, pairs):
    task = task_of(Network(Scaled()))
    expected = served_parameters(task)
    assert expected
    monkeypatch.setattr(GradientTask, "noised", lacking_memory_above(pairs, lack))
    assert served_parameters(task) == expected


@pytest.mark.parametrize("lack", LACKS)
def test_a_device_without_room_for_one_image_is_refused(monkeypatch, lack):
    task = task_of(Network(Scaled()))
    monkeypatch.setattr(GradientTask, "noised", lacking_memory_above(0, lack))
    with pytest.raises(MemoryLimitError, match=r"one image at one timestep.*--device cpu"):
        served_parameters(task)


def test_an_operation_that_cannot_repeat_itself_is_not_taken_for_lack_of_a_rule(monkeypatch):
    task = task_of(Network(Scaled()))
    expected = served_parameters(task)
    refusals = [RuntimeError("some_backward does not have a deterministic implementation, but")]
    noised = GradientTask.noised

    def refused_once(self, samples, pairs):
        if refusals:
            raise refusals.pop()
        return noised(self, samples, pairs)

    monkeypatch.setattr(GradientTask, "noised", refused_once)
    monkeypatch.setattr("dtrak_stream.support.arithmetic._refused", [])
    assert served_parameters(task) == expected
    assert not refusals


def test_trying_leaves_no_taps_on_the_network(monkeypatch):
    task = task_of(Network(Scaled()))
    monkeypatch.setattr(GradientTask, "noised", lacking_memory_above(1, LACKS[0]))
    served_parameters(task)
    assert not any(module._forward_hooks for module in task.denoiser.network.modules())


def test_lora_layers_of_peft():
    unet = build_unet()
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["to_q", "to_k", "to_out.0", "conv1"])
    inject_adapter_in_model(config, unet)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    task = task_of(unet, wanted="lora_")
    assert any("to_q.lora_A" in name for name in task.parameters)
    assert any("conv1.lora_B" in name for name in task.parameters)
    served = served_parameters(task)
    assert served == frozenset(task.parameters)
    images = images_of(task, 4)
    engine = HookedEngine(task, served, pairs_per_pass=7)
    gradients = gathered(engine, images, IDS)
    assert_rows_close(gradients, slow_gradients(task, images, IDS))
    assert_rows_close(gradients, gathered(TimestepBatchedEngine(task), images, IDS))


@pytest.mark.parametrize(
    ("in_half", "error", "is_served"),
    [(False, 0.004, True), (False, 0.03, False), (True, 0.03, True), (True, 0.3, False)],
)
def test_rounding_of_weights_in_half_is_not_taken_for_a_wrong_rule(
    monkeypatch, in_half, error, is_served
):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.moving = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            return self.moving(self.frozen(x.to(self.frozen.weight.dtype)).float())

    def with_error(engine, task):
        found = sums(engine, task)
        return found * (1 + error) if isinstance(engine, HookedEngine) else found

    torch.manual_seed(0)
    network, sums = Network(Two()), coverage._sums
    if in_half:
        network.body.frozen.bfloat16()
    task = task_of(network, wanted="moving", autocast=torch.bfloat16 if in_half else None)
    monkeypatch.setattr(coverage, "_sums", with_error)
    assert served_parameters(task) == (frozenset(task.parameters) if is_served else frozenset())


def test_random_sums_keep_the_length_of_a_gradient_however_it_is_cut():
    numbers = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    sums = torch.zeros(2, coverage._SUMS)
    coverage._add_sums(sums, numbers, 0)
    assert ((sums.norm(dim=1) / numbers.norm(dim=1)).log().abs() < 0.2).all()
    in_parts = torch.zeros_like(sums)
    for first, stop in ((0, 7), (7, 3001), (3001, 5000)):
        coverage._add_sums(in_parts, numbers[:, first:stop], first)
    assert torch.allclose(in_parts, sums, atol=1e-4)
    equal = torch.ones(1, 5000)
    sums = torch.zeros(1, coverage._SUMS)
    coverage._add_sums(sums, equal, 0)
    assert sums.norm() > 0.5 * equal.norm()
