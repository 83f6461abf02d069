"""One model without some of its images: trained, queries made again and their losses measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtrak_stream.evaluation.counterfactual.queries import GeneratedQueries, Pixels
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.retrained_models import ModelJob, TrainedModel
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.support.checkpoints import Checkpoints


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
class CounterfactualJob(ModelJob):
    """A model without some of its images, and the queries that are made again with it.

    Attributes
    ----------
    model
        Its name.
    queries
        What is made again.
    loss
        What the loss is.
    folder
        Where outcomes are kept.
    """

    model: str
    queries: GeneratedQueries
    loss: LossOptions
    folder: OutcomeFolder

    def missing(self) -> Sequence[int]:
        """Return the numbers of the queries whose outcomes are not kept yet."""
        return [n for n in self.queries.numbers if self.folder.load(self.model, n) is None]

    def keep(self, what: object, model: TrainedModel) -> None:
        """Make a query again, measure its loss, and keep both."""
        assert isinstance(what, int)
        outcome = measure(model.denoiser, self.queries, what, self.loss)
        self.folder.save(self.model, what, outcome)


def measure(
    denoiser: Denoiser, queries: GeneratedQueries, number: int, loss: LossOptions
) -> Outcome:
    """Make a query again with this model, and measure the loss of the original."""
    return Outcome(queries.again(denoiser, number), queries.loss(denoiser, number, loss))


def _name(model: str, number: int) -> str:
    return f"{model}-{number:05d}"
