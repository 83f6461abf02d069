"""Lack of memory on a real GPU: it is recognised, and batches become smaller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.device import free_memory
from dtrak_stream.support.memory import is_out_of_memory
from tests.conftest import build_unet
from tests.gradients.networks import task_of

IMAGES = 128


@contextmanager
def room_for(size: int, gpu: torch.device) -> Iterator[None]:
    """Let this process have so many bytes of the GPU besides what it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    share = (torch.cuda.memory_reserved(gpu) + size) / total
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), gpu)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)


def maker_of(gpu, size=32):
    """Return what needs some 3 GB for all images at once, and 40 MB for one of 128 x 128."""
    task = task_of(build_unet(size=size).to(gpu), timesteps=range(0, 1000, 100))
    projector = make_projector("sketch", proj_dim=512, seed=0, num_parameters=task.num_parameters)
    engine = HookedEngine(task, served_parameters(task), pairs_per_pass=10 * IMAGES)
    shape = task.denoiser.image_shape
    return Featurizer(task, projector, shape, gpu, {}, engine, batch_size=IMAGES)


def images(size=32):
    tensors = torch.rand(IMAGES, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return SampleBatch(tuple(map(str, range(IMAGES))), tensors)


def test_an_allocation_that_fails_is_recognised(gpu):
    with room_for(2**20, gpu), pytest.raises(RuntimeError) as caught:
        torch.empty(2**28, device=gpu)
    assert is_out_of_memory(caught.value)


def test_a_batch_that_does_not_fit_is_computed_in_smaller_ones(gpu):
    maker = maker_of(gpu)
    expected = maker.features(images())
    assert maker.batch_size == IMAGES
    with room_for(128 * 2**20, gpu):
        found = maker.features(images())
    assert 1 <= maker.batch_size < IMAGES
    assert (found - expected).norm() <= 1e-4 * expected.norm()


def test_no_room_for_one_image_is_refused(gpu):
    maker = maker_of(gpu, size=128)
    maker.features(images(128)[:1])
    with room_for(0, gpu), pytest.raises(MemoryLimitError, match="one image at one timestep"):
        maker.features(images(128)[:2])


def test_memory_that_torch_keeps_counts_as_free(gpu):
    torch.cuda.empty_cache()
    before = free_memory(gpu)
    held = torch.empty(2**26, device=gpu)  # 256 MB
    while_held = free_memory(gpu)
    del held
    assert before - while_held >= 2**27
    assert free_memory(gpu) - while_held >= 2**27
