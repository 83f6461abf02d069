"""Gradients of both engines on a GPU: those of the CPU in float64, and the same bits each time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.objective.noise import ImageNoise
from tests.conftest import build_unet
from tests.gradients.networks import (
    Network,
    Timed,
    TimedNetwork,
    assert_rows_close,
    batch_of,
    images_of,
    slow_gradients,
    task_of,
)
from tests.gradients.test_hooked import LAYERS, seeded

IDS = [f"image {i}" for i in range(6)]
CPU = torch.device("cpu")


def unet():
    return build_unet(channels=2)


def looking_up():
    torch.manual_seed(0)
    return TimedNetwork(Timed(2, nn.Linear(2, 2), padding_idx=300))


NETWORKS = {
    "unet": unet,
    "embedding": looking_up,
    **{name: lambda name=name: Network(seeded(*LAYERS[name]())) for name in LAYERS},  # type: ignore[misc]
}


def exact(task):
    return TimestepBatchedEngine(task, pairs_per_pass=2)


def hooked(task):
    return HookedEngine(task, served_parameters(task), pairs_per_pass=8)


def gathered(engine, images):
    """Sum the slices of a stream on its device, and return them on the CPU: (samples, p)."""
    out = torch.zeros(len(images), engine.num_parameters, device=engine.task.denoiser.device)

    def receive(piece):
        rows = slice(piece.first_row, piece.first_row + len(piece.block))
        out[rows, piece.offset : piece.offset + piece.block.shape[1]] += piece.block

    engine.stream(batch_of(images, IDS), receive)
    engine.close()
    return out.cpu()


@pytest.mark.parametrize("engine", [exact, hooked])
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_are_those_of_the_cpu_in_float64(device, network, engine):
    noise = ImageNoise(0, "per-sample")
    here = task_of(NETWORKS[network](), name="simple", noise=noise)
    there = task_of(NETWORKS[network]().to(device), name="simple", noise=noise)
    images = images_of(here, len(IDS))
    expected = slow_gradients(here, images, IDS)
    assert_rows_close(gathered(engine(there), images), expected, tolerance=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_layer_rules_serve_the_same_parameters(device, network):
    here, there = task_of(NETWORKS[network]()), task_of(NETWORKS[network]().to(device))
    assert served_parameters(there) == served_parameters(here)


@pytest.mark.parametrize("engine", [exact, hooked])
@pytest.mark.parametrize("unit_gradients", [False, True])
def test_gradients_are_the_same_bits_each_time(device, engine, unit_gradients):
    task = task_of(unet().to(device), unit_gradients=unit_gradients)
    images = images_of(task, len(IDS))
    first = gathered(engine(task), images)
    for _ in range(4):
        assert torch.equal(gathered(engine(task), images), first)


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
def test_noise_is_the_same_bits_as_on_the_cpu(device, keying):
    def drawn(where):
        pairs = [(t, draw) for t in (0, 500, 999) for draw in range(4)]
        noise = ImageNoise(3, keying)
        return noise.draws((3, 64, 64), sample_ids=IDS, pairs=pairs, device=where).cpu()

    assert torch.equal(drawn(device), drawn(CPU))
