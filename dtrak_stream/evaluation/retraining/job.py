"""One retrained model: trained, its losses measured and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.retrained_models import ModelJob, TrainedModel
from dtrak_stream.evaluation.retraining.queries import QuerySet
from dtrak_stream.evaluation.retraining.rows import ModelName, ModelRow, WorkFolder


@dataclass(frozen=True)
class RetrainJob(ModelJob):
    """A model trained on a subset, and the queries whose losses are measured under it.

    Attributes
    ----------
    name
        Which model.
    queries
        What losses are measured on.
    loss
        What the loss is.
    work
        Where losses are kept.
    """

    name: ModelName
    queries: tuple[QuerySet, ...]
    loss: LossOptions
    work: WorkFolder

    def missing(self) -> Sequence[QuerySet]:
        """Return the sets of queries whose losses are not kept yet."""
        return [query for query in self.queries if not self.work.has_row(query.key, self.name)]

    def keep(self, what: object, model: TrainedModel) -> None:
        """Measure the losses of a set of queries and keep them."""
        assert isinstance(what, QuerySet)
        losses = LossMeter(model.denoiser, self.loss).of_images(what.open())
        self.work.save_row(what.key, self.name, ModelRow(losses, model.left_out))
