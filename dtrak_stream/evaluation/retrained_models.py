"""Models retrained for a measurement: the missing ones, each made and measured by one process.

Several commands at once, on one machine or on several that share the folder, share the models by
claims; what is kept of a model is the same whoever made it.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dtrak_stream.errors import InterruptedRunError
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoraOptions
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.support.claims import Claims
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.cluster_options import HERE, own_device
from dtrak_stream.support.device import choose_device, require_devices
from dtrak_stream.support.progress import progress
from dtrak_stream.support.shared_work import Cluster
from dtrak_stream.support.stopping import stop_wanted
from dtrak_stream.training.loop import AnyTraining, TrainingResult
from dtrak_stream.training.lora_configuration import LoraTrainingConfig
from dtrak_stream.training.lora_run import train_lora
from dtrak_stream.training.run import train

_POLL_SECONDS = 1.0
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


def require_place(where: WorkerOptions) -> None:
    """Refuse devices that are not here, or a scheduler that does not answer or has no workers.

    Raises
    ------
    ConfigurationError, InputError
        See `choose_device` and `connect`.
    """
    if where.scheduler is None:
        require_devices(where.device_names())
        choose_device(where.first_device)
    else:  # what devices its workers have, only they can tell
        with connect(where):
            pass


def train_model(config: AnyTraining) -> TrainedModel:
    """Train a model, or finish what an interrupted call began, and load it.

    Raises
    ------
    DtrakStreamError
        See `train` and `train_lora`.
    InterruptedRunError
        On Ctrl-C, with a checkpoint saved.
    """
    begin = time.perf_counter()
    trained = _trained(config)
    seconds = time.perf_counter() - begin
    bad = [sample.row for sample in read_quarantine(trained.path / "quarantine.jsonl")]
    return TrainedModel(load_trained(config), np.array(bad, np.int64), seconds)


def _trained(config: AnyTraining) -> TrainingResult:
    if isinstance(config, LoraTrainingConfig):
        return train_lora(config, visible=False)
    return train(config, visible=False)


def load_trained(config: AnyTraining) -> Denoiser:
    """Load what a training wrote: a model, or a LoRA on its base.

    Raises
    ------
    DtrakStreamError
        See `load_denoiser`.
    """
    device = choose_device(config.device)
    if isinstance(config, LoraTrainingConfig):
        # what --target-modules chose may well be some blocks
        lora = LoraOptions(str(config.out), some_layers=True)
        return load_denoiser(config.model, config.told.loading(lora), device=device)
    return load_denoiser(str(config.out), device=device)


@dataclass(frozen=True)
class ModelTimes:
    """How long the parts of a model took, in seconds."""

    training: float
    """Training it."""
    measuring: float
    """Measuring what is wanted of it."""


@dataclass(frozen=True)
class ModelJob(ABC):
    """What a worker needs to know to make one model and to measure it.

    Attributes
    ----------
    training
        How it is trained, and where.
    claim
        The file whose claim says that a process is at this model.
    threads
        CPU threads.
    keep_model
        Whether the model stays.
    """

    training: AnyTraining
    claim: Path
    threads: int
    keep_model: bool

    @abstractmethod
    def missing(self) -> Sequence[object]:
        """Return what is still to be measured; nothing of it means that the model is not needed."""

    @abstractmethod
    def keep(self, what: object, model: TrainedModel) -> None:
        """Measure one of `missing` and keep it, on disk before this returns."""


def run_model_job(job: ModelJob) -> ModelTimes | None:
    """Make one model and keep what is wanted of it; what is there already is not made again.

    It runs on the device of the worker that it is called on, if that has one of its own.

    Returns
    -------
    ModelTimes or None
        None if another process is at this model.

    Raises
    ------
    DtrakStreamError
        If the training, or what is measured, refuses.
    InterruptedRunError
        On Ctrl-C, with a checkpoint of the training saved.
    """
    training = on_own_device(job.training)
    with (
        _ONE_MODEL_AT_A_TIME,
        Claims() as claims,
        cpu_threads(job.threads),
    ):
        if not claims.take(job.claim):
            return None
        missing = job.missing()
        if not missing:
            return ModelTimes(0.0, 0.0)
        model = train_model(training)
        begin = time.perf_counter()
        for what in missing:
            if stop_wanted():
                raise InterruptedRunError("losses that are measured are kept")
            job.keep(what, model)
        times = ModelTimes(model.seconds, time.perf_counter() - begin)
        if not job.keep_model:
            shutil.rmtree(job.training.out, ignore_errors=True)
    return times


def on_own_device(training: AnyTraining) -> AnyTraining:
    """Return how a model is trained, on the device of this worker if it has one of its own."""
    device = own_device()
    return training if device is None else dataclasses.replace(training, device=device)


def make_missing(
    jobs: Sequence[ModelJob], total: int, where: WorkerOptions, *, kept_in: Path, visible: bool
) -> list[ModelTimes]:
    """Make all missing models, those that other processes are at by waiting for them.

    Parameters
    ----------
    jobs
        The models that are missing.
    total
        Number of all models, for the progress bar.
    where
        Where models are trained.
    kept_in
        What to tell the user after Ctrl-C.
    visible
        Whether to draw a progress bar.

    Returns
    -------
    list of ModelTimes
        One for each model this call made.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. What is finished is kept.
    """
    made: list[ModelTimes] = []
    done = total - len(jobs)
    with progress(total, description="retraining", unit="model", done=done, visible=visible) as bar:
        try:
            for times in _on(where, jobs):
                done += 1
                bar.update()
                if times.training or times.measuring:
                    made.append(times)
        except KeyboardInterrupt as interrupt:
            raise InterruptedRunError(
                f"{done} of {total} models are kept in {kept_in}"
            ) from interrupt
    return made


def _on(where: WorkerOptions, jobs: Sequence[ModelJob]) -> Iterator[ModelTimes]:
    alone = len(jobs) < 2 and where.scheduler is None and where.devices is None
    with connect(HERE if alone else where, run_model_job) as cluster:
        yield from _shared(jobs, cluster)


def _shared(jobs: Sequence[ModelJob], cluster: Cluster) -> Iterator[ModelTimes]:
    """Yield the times of each model once it is made; zero for those that others made."""
    left = list(jobs)
    with Claims() as claims:  # one for all rounds: what stands still is seen by looking again
        while left:
            here = 0
            for times in cluster.run(run_model_job, _free(left, claims)):
                if times is not None:
                    here += 1
                    yield times
            still = [job for job in left if job.missing()]
            yield from [ModelTimes(0.0, 0.0)] * (len(left) - len(still) - here)
            left = still
            if left:
                time.sleep(_POLL_SECONDS)


def _free(jobs: Sequence[ModelJob], claims: Claims) -> list[ModelJob]:
    """Return the jobs that no living process is at, free to be claimed by whoever does them."""
    free = [job for job in jobs if claims.take(job.claim)]
    for job in free:
        claims.release(job.claim)
    return free


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute on so many threads inside: other numbers add in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
