"""Training one model of many: one at a time in a process, resumable, interruptible."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.store import read_quarantine
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.workers import interruptible
from dtrak_stream.training import TrainingConfig, train

# training seeds torch's default generator, which all threads of a process share
_ONE_MODEL_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class TrainedModel:
    """A model that was just trained, or was already there.

    Attributes
    ----------
    denoiser
        The model, in evaluation mode on its device.
    left_out
        (n,) int64, training images that could not be used.
    seconds
        Time the training took in this call.
    """

    denoiser: Denoiser
    left_out: NDArray[np.int64]
    seconds: float


def train_model(config: TrainingConfig) -> TrainedModel:
    """Train a model, or finish what an interrupted call began, and load it.

    Raises
    ------
    DtrakStreamError
        See `train`.
    InterruptedRunError
        On Ctrl-C, with a checkpoint saved.
    """
    begin = time.perf_counter()
    trained = train(config, visible=False)
    seconds = time.perf_counter() - begin
    bad = [sample.row for sample in read_quarantine(trained.path / "quarantine.jsonl")]
    denoiser = load_denoiser(str(trained.path), device=choose_device(config.device))
    return TrainedModel(denoiser, np.array(bad, np.int64), seconds)


@contextmanager
def alone_with(lock_file: Path, threads: int) -> Iterator[None]:
    """Work on one model: no other process on it, no other model in this process, so many threads.

    A process that still works on the same model is waited for: it may be the rest of a run that
    was cancelled on another machine.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with interruptible(), _ONE_MODEL_AT_A_TIME, lock_file.open("w") as file, cpu_threads(threads):
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute on so many threads inside: other numbers add in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
