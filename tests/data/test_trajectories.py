"""Sampling paths beside their images: read by several threads at once."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest
import torch

from dtrak_stream.data.trajectories import Trajectory, TrajectoryFolder, image_hash

THREADS, READS = 4, 150


@pytest.fixture
def eager_switches():
    """Threads take turns, and cycles are collected, as often as can be."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5)
    gc.callbacks.append(_take_a_while)
    yield
    gc.callbacks.remove(_take_a_while)
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


def _take_a_while(*_):
    sum(range(50))


def test_threads_read_the_same_path_side_by_side(tmp_path, eager_switches):
    folder, image = TrajectoryFolder(tmp_path), torch.zeros(1, 2, 2)
    made = np.random.default_rng(0).standard_normal((3, 1, 2, 2)).astype(np.float32)
    folder.save(0, Trajectory(np.array([9, 5, 1]), made, made, image_hash(image)))

    def read(_):
        return [folder.predictions("00000.png", image) for _ in range(READS)]

    with ThreadPoolExecutor(THREADS) as pool:
        for timesteps, predicted in chain.from_iterable(pool.map(read, range(THREADS))):
            assert timesteps.tolist() == [9, 5, 1]
            assert np.array_equal(predicted.numpy(), made)
