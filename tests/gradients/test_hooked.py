"""The hooked engine against one float64 backward pass for each (sample, timestep)."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from tests.gradients.networks import (
    Network,
    Padded,
    Timed,
    TimedNetwork,
    assert_rows_close,
    batch_of,
    gathered,
    images_of,
    slow_gradients,
    task_of,
)

IDS = [f"image {i}" for i in range(20)]


def seeded(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    body = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return body


def hooked(task, pairs_per_pass=1000, **options):
    return HookedEngine(task, served_parameters(task), pairs_per_pass, **options)


class Tokens(nn.Module):
    """Runs layers on (B, positions, C)."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class Lines(nn.Module):
    """Runs layers on (B, C, positions)."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.flatten(2)).reshape(x.shape)


LAYERS = {
    "conv": lambda: (nn.Conv2d(2, 5, 3, padding=1), nn.SiLU(), nn.Conv2d(5, 2, 3, padding=1)),
    "strided": lambda: (
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 2, 1),
    ),
    "grouped": lambda: (
        nn.Conv2d(2, 6, 3, padding=1, groups=2),
        nn.Conv2d(6, 2, (1, 3), padding=(0, 1), groups=2),
    ),
    "dilated": lambda: (nn.Conv2d(2, 2, 3, padding=2, dilation=2), nn.SiLU()),
    "uneven kernel": lambda: (nn.Conv2d(2, 3, (5, 3), padding="same"), nn.Conv2d(3, 2, 1)),
    "circular": lambda: (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),),
    "reflected": lambda: (nn.Conv2d(2, 2, 3, padding=(1, 1), padding_mode="reflect"),),
    "no bias": lambda: (nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.Conv2d(2, 2, 1, bias=False)),
    "pointwise strided": lambda: (nn.Conv2d(2, 2, 1, stride=2), nn.Upsample(scale_factor=2)),
    "pointwise padded": lambda: (nn.Conv2d(2, 2, 1, padding=1), nn.Conv2d(2, 2, 3)),
    "conv1d": lambda: (Lines(nn.Conv1d(2, 3, 5, padding=2), nn.SiLU(), nn.Conv1d(3, 2, 1)),),
    "conv1d grouped": lambda: (Lines(nn.Conv1d(2, 2, 3, padding=2, dilation=2, groups=2)),),
    "group norm": lambda: (nn.Conv2d(2, 6, 1), nn.GroupNorm(3, 6), nn.Conv2d(6, 2, 1)),
    "layer norm": lambda: (Tokens(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 2)),),
    "layer norm of a large eps": lambda: (
        Tokens(nn.Linear(2, 4), nn.LayerNorm(4, eps=0.5), nn.Linear(4, 2)),
    ),
    "layer norm over images": lambda: (nn.LayerNorm((2, 6, 6)), nn.Conv2d(2, 2, 1)),
    "batch norm": lambda: (nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)),
    "linear": lambda: (Tokens(nn.Linear(2, 7), nn.GELU(), nn.Linear(7, 2, bias=False)),),
    "linear on pixels": lambda: (nn.Linear(6, 6), nn.SiLU()),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("timesteps", [(500,), (0, 999), tuple(range(0, 980, 140))])
def test_every_kind_of_layer(kind, timesteps):
    task = task_of(Network(seeded(*LAYERS[kind]())), timesteps=timesteps)
    assert served_parameters(task) == frozenset(task.parameters)
    images = images_of(task, 5)
    assert_rows_close(gathered(hooked(task), images, IDS), slow_gradients(task, images, IDS))


@pytest.mark.parametrize("name", ["simple", "elbo", "square", "avg", "l2", "linf"])
def test_every_output_function(name):
    task = task_of(Network(seeded(*LAYERS["conv"]())), name=name)
    images = images_of(task, 3)
    assert_rows_close(gathered(hooked(task), images, IDS), slow_gradients(task, images, IDS))


def timed(**options):
    """Return a network that looks up its timesteps, all at the same 36 places of an image."""
    torch.manual_seed(0)
    inside = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    return TimedNetwork(Timed(2, inside, **options))


def table_of(gradients):
    """Return the part of the gradients that is of the 1,000 entries of two numbers."""
    return gradients[:, : 1000 * 2].reshape(-1, 1000, 2)


def entries_with_gradients(gradients):
    return table_of(gradients).abs().sum((0, 2)).nonzero().flatten().tolist()


@pytest.mark.parametrize("chunk_bytes", [1, 60_000, None])
def test_timesteps_embedded_and_embeddings_looked_up(chunk_bytes):
    task = task_of(timed(), noise_draws=2)
    assert served_parameters(task) == frozenset(task.parameters)
    images = images_of(task, 4)
    gradients = gathered(hooked(task, chunk_bytes=chunk_bytes), images, IDS)
    expected = slow_gradients(task, images, IDS)
    assert_rows_close(gradients, expected)
    assert_rows_close(table_of(gradients).flatten(1), table_of(expected).flatten(1))
    assert entries_with_gradients(gradients) == [0, 300, 999]


@pytest.mark.parametrize("padding_idx", [300, -1])
def test_the_padding_of_an_embedding_has_no_gradient(padding_idx):
    task = task_of(timed(padding_idx=padding_idx))
    assert served_parameters(task) == frozenset(task.parameters)
    images = images_of(task, 4)
    gradients = gathered(hooked(task), images, IDS)
    assert_rows_close(gradients, slow_gradients(task, images, IDS))
    assert entries_with_gradients(gradients) == sorted({0, 300, 999} - {padding_idx % 1000})


@pytest.mark.parametrize("unit_gradients", [False, True])
def test_padding_of_an_embedding_has_a_zero_gradient(unit_gradients):
    task = task_of(Network(Padded()), unit_gradients=unit_gradients)
    assert served_parameters(task) == frozenset(task.parameters)
    images = images_of(task, 3)
    gradients = gathered(hooked(task), images, IDS)  # (samples, entries)
    assert not gradients[:, :2].any()
    assert gradients[:, 2].all()
    if not unit_gradients:
        assert_rows_close(gradients, slow_gradients(task, images, IDS))


def test_a_gradient_whose_square_is_no_float_is_of_unit_length_all_the_same():
    last = nn.Conv2d(2, 2, 1)
    body = seeded(nn.Conv2d(2, 2, 1), last)
    with torch.no_grad():
        last.weight.mul_(1e25)
    task = task_of(Network(body), name="avg", timesteps=(300,), unit_gradients=True)
    assert served_parameters(task) == frozenset(task.parameters)
    images = images_of(task, 3)
    gradients = gathered(hooked(task), images, IDS)
    assert gradients.norm(dim=1).tolist() == pytest.approx([1.0] * 3)
    assert_rows_close(gradients, gathered(TimestepBatchedEngine(task), images, IDS))


@st.composite
def bodies(draw):
    """A chain of random layers from 2 channels to 2 channels on 6x6."""
    layers: list[nn.Module] = []
    channels = 2
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "norm", "tokens", "lines", "act"]))
        if kind == "conv":
            groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
            wider = groups * draw(st.integers(1, 3))
            kernel, dilation = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
            padding = dilation * (kernel // 2)
            bias = draw(st.booleans())
            layers.append(
                nn.Conv2d(
                    channels,
                    wider,
                    kernel,
                    padding=padding,
                    dilation=dilation,
                    groups=groups,
                    bias=bias,
                )
            )
            channels = wider
        elif kind == "norm":
            layers.append(nn.GroupNorm(1, channels))
        elif kind == "tokens":
            # wider inside: of two numbers, once normalised, only the sign is left
            inside = nn.Linear(channels, 4), nn.LayerNorm(4), nn.Linear(4, channels)
            layers.append(Tokens(*inside))
        elif kind == "lines":
            layers.append(Lines(nn.Conv1d(channels, channels, 3, padding=1)))
        else:
            layers.append(nn.SiLU())
    layers.append(nn.Conv2d(channels, 2, 1))
    return seeded(*layers, seed=draw(st.integers(0, 9)))


@given(
    body=bodies(),
    samples=st.integers(1, 7),
    timesteps=st.lists(st.integers(0, 999), min_size=1, max_size=4, unique=True),
    pairs_per_pass=st.integers(1, 30),
    chunk_bytes=st.sampled_from([1, 5_000, 10**9]),
)
@settings(deadline=None, max_examples=40)
def test_any_small_network_any_batch(body, samples, timesteps, pairs_per_pass, chunk_bytes):
    task = task_of(Network(body), timesteps=timesteps)
    images = images_of(task, samples)
    engine = hooked(task, pairs_per_pass, chunk_bytes=chunk_bytes)
    # the gradient behind a normalisation can be a small difference of large terms
    assert_rows_close(
        gathered(engine, images, IDS), slow_gradients(task, images, IDS), tolerance=1e-4
    )


class Checkpointed(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        return checkpoint(self.layers, x, use_reentrant=False)


def test_taps_keep_no_activation_that_checkpointing_drops():
    layers = seeded(*LAYERS["conv"]())
    task = task_of(Network(Checkpointed(layers)))
    engine = hooked(task)
    images = images_of(task, 2)
    inside: list[weakref.ref[torch.Tensor]] = []
    layers[2].register_forward_pre_hook(lambda _, given: inside.append(weakref.ref(given[0])))
    batch = task.noised(batch_of(images, IDS), task.pairs)
    value = engine._taps.forward(lambda: task.values(task.output(batch), batch))
    assert len(inside) == 1
    assert inside[0]() is None
    del value
    assert_rows_close(gathered(engine, images, IDS), slow_gradients(task, images, IDS))


class Shared(nn.Module):
    """One layer used twice, one weight tied to another layer, and a layer never used."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(2, 2, 3, padding=1)
        self.first = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.first.weight
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.tied(torch.sin(self.first(self.twice(torch.sin(self.twice(x))))))


def test_parameters_used_more_than_once_and_not_at_all():
    torch.manual_seed(0)
    task = task_of(Network(Shared()))
    images = images_of(task, 4)
    gradients = gathered(hooked(task), images, IDS)
    assert_rows_close(gradients, slow_gradients(task, images, IDS))
    start = task.offsets()["body.unused.weight"]
    assert torch.count_nonzero(gradients[:, start : start + 12]) == 0


def test_a_model_whose_output_does_not_depend_on_its_parameters_has_zero_gradients():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return torch.zeros_like(x)

    task = task_of(Network(Constant()))
    engine = HookedEngine(task, frozenset(task.parameters), 100)
    assert torch.count_nonzero(gathered(engine, images_of(task, 2), IDS)) == 0
