"""One retrained model: trained, its losses measured and kept, itself removed."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass

from dtrak_stream.evaluation.losses import LossMeter, LossOptions
from dtrak_stream.evaluation.model_jobs import TrainedModel, alone_with, train_model
from dtrak_stream.evaluation.retraining.queries import QuerySet
from dtrak_stream.evaluation.retraining.rows import ModelName, ModelRow, WorkFolder
from dtrak_stream.training import TrainingConfig


@dataclass(frozen=True)
class RetrainJob:
    """What a worker needs to know to make one model.

    Attributes
    ----------
    name
        Which model.
    training
        How it is trained, and where.
    queries
        What losses are measured on.
    loss
        What the loss is.
    work
        Where losses are kept.
    threads
        CPU threads.
    keep_model
        Whether the model stays.
    """

    name: ModelName
    training: TrainingConfig
    queries: tuple[QuerySet, ...]
    loss: LossOptions
    work: WorkFolder
    threads: int
    keep_model: bool


@dataclass(frozen=True)
class JobTimes:
    """How long the parts of a job took, in seconds."""

    training: float
    """Training the model."""
    losses: float
    """Measuring the losses."""


def run_retrain_job(job: RetrainJob) -> JobTimes:
    """Make one model and keep its losses; what is there already is not made again.

    Raises
    ------
    DtrakStreamError
        If the training, or a source of queries, refuses.
    InterruptedRunError
        On Ctrl-C, with a checkpoint of the training saved.
    """
    with alone_with(job.work.lock_file(job.name), job.threads):
        missing = [q for q in job.queries if not job.work.has_row(q.key, job.name)]
        if not missing:
            return JobTimes(0.0, 0.0)
        model = train_model(job.training)
        begin = time.perf_counter()
        for query in missing:
            _keep_losses(job, query, model)
        times = JobTimes(model.seconds, time.perf_counter() - begin)
        if not job.keep_model:
            shutil.rmtree(job.training.out)
    return times


def _keep_losses(job: RetrainJob, query: QuerySet, model: TrainedModel) -> None:
    losses = LossMeter(model.denoiser, job.loss).of_images(query.open())
    job.work.save_row(query.key, job.name, ModelRow(losses, model.left_out))
