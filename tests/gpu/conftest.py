"""Where the tests of this folder run: on a GPU, and nowhere without one.

`DTRAK_GPU_STAND_IN=cpu` runs those that do without a real GPU on the CPU, to rehearse the tests
themselves.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.small_jobs import random_pixels, save_images

_STAND_IN = os.environ.get("DTRAK_GPU_STAND_IN")


@pytest.fixture(autouse=True, scope="session")
def only_with_a_gpu() -> None:
    if not (_STAND_IN or torch.cuda.is_available()):
        pytest.skip("there is no GPU here")


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device(_STAND_IN or "cuda:0")


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """The device, which must be a real GPU."""
    if device.type != "cuda":
        pytest.skip("a stand-in is not enough")
    return device


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Training images, and queries of which the first two are training images as well."""
    root = tmp_path_factory.mktemp("sources")
    train = random_pixels(40)
    query = np.concatenate([train[[7, 2]], random_pixels(2, seed=1)])
    return save_images(root / "train", train), save_images(root / "query", query)
