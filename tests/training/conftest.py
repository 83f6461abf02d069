"""What tests of training share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.training.tiny_runs import (
    EVERYTHING,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Other numbers of threads add in another order; a forked child has the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return {"architecture": EVERYTHING, "flip": True, "ema": True}
