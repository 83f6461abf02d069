"""The host does not wait for a GPU within a batch, and what it hands over meanwhile arrives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.objective.function_names import OUTPUT_FUNCTIONS
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.device import moved
from dtrak_stream.support.timing import StageTimer, clock_of
from tests.conftest import build_unet
from tests.gradients.networks import images_of, task_of
from tests.gradients.test_hooked import timed

IDS = tuple("abcdef")
_CYCLES = 2**28  # about a tenth of a second


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Within it, an operation of torch that makes the host wait for a GPU fails."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def exact(task):
    return TimestepBatchedEngine(task, pairs_per_pass=2)


def hooked(task):
    return HookedEngine(task, served_parameters(task), pairs_per_pass=8)


def sketched(engine, samples, device, projector="sketch"):
    """Stream the projected gradients of samples that are still on the host: (B, k), over there."""
    task = engine.task
    each = make_projector(projector, proj_dim=512, seed=0, num_parameters=task.num_parameters)

    def compute():
        out = torch.zeros(len(samples), each.proj_dim, device=device)

        def receive(piece):
            rows = slice(piece.first_row, piece.first_row + len(piece.block))
            with task.timer.stage("projection"):
                each.add(piece.block, piece.offset, out[rows])

        engine.stream(samples.to(device), receive)
        return out

    return compute


def assert_never_waits(engine, device, **options):
    task = engine.task
    compute = sketched(engine, SampleBatch(IDS, images_of(task, len(IDS))), device, **options)
    first = compute()  # libraries start, kernels are compiled, tables are made
    with no_waiting(device):
        second = compute()
    assert torch.equal(first, second)
    assert first.any()


pytestmark = pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")


@pytest.mark.parametrize("engine", [exact, hooked])
@pytest.mark.parametrize("keying", ["shared", "per-sample"])
@pytest.mark.parametrize("unit_gradients", [False, True])
def test_the_host_does_not_wait_within_a_batch(device, engine, keying, unit_gradients):
    timer = StageTimer(clock_of(device))
    options = {"noise": ImageNoise(0, keying), "unit_gradients": unit_gradients, "timer": timer}
    assert_never_waits(engine(task_of(build_unet().to(device), **options)), device)


@pytest.mark.parametrize("engine", [exact, hooked])
@pytest.mark.parametrize("name", OUTPUT_FUNCTIONS)
def test_the_host_does_not_wait_for_an_output_function(device, engine, name):
    given = name.replace("(ETA)", "(0.5)").replace("(J)", "(0/2)")
    assert_never_waits(engine(task_of(timed(padding_idx=300).to(device), name=given)), device)


@pytest.mark.parametrize("projector", ["rademacher", "normal"])
def test_the_host_does_not_wait_for_a_projector(device, projector):
    engine = hooked(task_of(timed().to(device)))
    assert_never_waits(engine, device, projector=projector)


def busy(device):
    if device.type == "cuda":
        torch.cuda._sleep(_CYCLES)


def test_what_is_handed_over_while_a_gpu_is_busy_arrives(device):
    moved(torch.zeros(1), device)
    busy(device)
    with no_waiting(device):
        arrived = [moved(torch.full((4096,), float(number)), device) for number in range(200)]
    assert [each.unique().tolist() for each in arrived] == [[number] for number in range(200)]


def test_stages_add_up_to_the_time_that_passed(gpu):
    timer = StageTimer(clock_of(gpu))
    torch.cuda.synchronize(gpu)
    start = time.perf_counter()
    with timer.stage("backward"):
        busy(gpu)
        with timer.stage("projection"):
            busy(gpu)
        busy(gpu)
    told = time.perf_counter() - start
    seconds = timer.seconds()
    passed = time.perf_counter() - start
    assert told < 0.5 * passed, "marking the stages waited for them"
    assert 0.9 * passed < sum(seconds.values()) <= 1.01 * passed
    assert 1.8 < seconds["backward"] / seconds["projection"] < 2.2
