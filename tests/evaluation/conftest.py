"""A full model that trains in a second, and retraining runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.retraining.configuration import RetrainConfig, WorkerOptions
from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    NoiseScheduleOptions,
    OptimisationOptions,
    TrainingConfig,
)
from dtrak_stream.training.run import train

IMAGES = "sklearn:digits[0:20]"
QUERIES = "sklearn:digits[30:35]"
MORE_QUERIES = "sklearn:digits[40:43]"


@pytest.fixture(autouse=True)
def one_thread():
    """Other numbers of threads add in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def full_model(tmp_path_factory) -> str:
    """Two epochs of four steps on 20 digits."""
    torch.set_num_threads(1)
    config = TrainingConfig(
        images=IMAGES,
        out=tmp_path_factory.mktemp("full") / "model",
        seed=7,
        checkpoint_every=1,
        device="cpu",
        architecture=ArchitectureOptions(
            block_out_channels=(8,), layers_per_block=1, attention_levels=(), norm_num_groups=4
        ),
        noise_schedule=NoiseScheduleOptions(num_train_timesteps=40),
        optimisation=OptimisationOptions(epochs=2, batch_size=5, learning_rate=1e-2),
    )
    return str(train(config, visible=False).path)


def retraining(model: str, out: Path, *, workers: int = 1, **changes: Any) -> RetrainConfig:
    """Two subsets, one seed, five queries."""
    options: dict[str, Any] = {"query": (QUERIES,), "subsets": 2, "quiet": True}
    return RetrainConfig(
        out=out,
        model=model,
        loss=changes.pop("loss", LossOptions(loss_timesteps="3", loss_batch=8)),
        where=WorkerOptions(workers=workers, device="cpu"),
        **{**options, **changes},
    )
