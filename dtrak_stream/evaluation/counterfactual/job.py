"""One model without some of its images: trained, queries made again and their losses measured."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtrak_stream.evaluation.counterfactual.queries import GeneratedQueries, Pixels
from dtrak_stream.evaluation.losses import LossOptions
from dtrak_stream.evaluation.model_jobs import alone_with, train_model
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.training import TrainingConfig


@dataclass(frozen=True)
class Outcome:
    """What one query is under one model."""

    image: Pixels
    """Made again from its seed, (H, W, C) uint8."""
    loss: float
    """Loss of the original image."""


@dataclass(frozen=True)
class OutcomeFolder:
    """Outcomes on disk, named by the model and the number of the query."""

    path: Path
    """Folder of the whole run."""

    def save(self, model: str, number: int, outcome: Outcome) -> None:
        """Keep an outcome, on disk before this returns."""
        rows = Checkpoints(self.path / "outcomes")
        rows.save(_name(model, number), image=outcome.image, loss=np.array(outcome.loss))

    def load(self, model: str, number: int) -> Outcome | None:
        """Return an outcome that was kept whole; None if there is none."""
        arrays = Checkpoints(self.path / "outcomes").load(_name(model, number))
        return None if arrays is None else Outcome(arrays["image"], float(arrays["loss"]))


@dataclass(frozen=True)
class CounterfactualJob:
    """What a worker needs to know to make one model.

    Attributes
    ----------
    model
        Its name.
    training
        How it is trained, and where.
    queries
        What is made again: the numbers in it are those still missing.
    loss
        What the loss is.
    folder
        Where outcomes are kept.
    threads
        CPU threads.
    keep_model
        Whether the model stays.
    """

    model: str
    training: TrainingConfig
    queries: GeneratedQueries
    loss: LossOptions
    folder: OutcomeFolder
    threads: int
    keep_model: bool


def run_counterfactual_job(job: CounterfactualJob) -> int:
    """Make one model and keep what the queries are under it; return their number.

    Raises
    ------
    DtrakStreamError
        If the training or the sampler refuses.
    InterruptedRunError
        On Ctrl-C, with a checkpoint of the training saved.
    """
    with alone_with(job.folder.path / "locks" / job.model, job.threads):
        missing = [n for n in job.queries.numbers if job.folder.load(job.model, n) is None]
        if missing:
            denoiser = train_model(job.training).denoiser
            for number in missing:
                outcome = measure(denoiser, job.queries, number, job.loss)
                job.folder.save(job.model, number, outcome)
        if not job.keep_model:
            shutil.rmtree(job.training.out, ignore_errors=True)
    return len(missing)


def measure(
    denoiser: Denoiser, queries: GeneratedQueries, number: int, loss: LossOptions
) -> Outcome:
    """Make a query again with this model, and measure the loss of the original."""
    return Outcome(queries.again(denoiser, number), queries.loss(denoiser, number, loss))


def _name(model: str, number: int) -> str:
    return f"{model}-{number:05d}"
