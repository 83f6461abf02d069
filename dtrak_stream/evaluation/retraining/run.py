"""Retraining on subsets: every missing model, then the truth file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.evaluation.retrained_models import make_missing, require_place
from dtrak_stream.evaluation.retraining.configuration import RetrainConfig
from dtrak_stream.evaluation.retraining.plan import (
    RetrainPlan,
    keep_stored_rows,
    plan_retraining,
    stored_truth,
)
from dtrak_stream.evaluation.retraining.queries import QuerySet
from dtrak_stream.evaluation.retraining.rows import ModelName, ModelRow
from dtrak_stream.evaluation.shared_folder import shared_folder
from dtrak_stream.evaluation.truth import (
    REPEATED_SUBSETS,
    TruthFile,
    encoded_ids,
    query_id_key,
    seeds_key,
    write_truth,
)
from dtrak_stream.objective.timesteps import choose_timesteps
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run

_FORMAT = 1


@dataclass(frozen=True)
class RetrainResult:
    """What retraining did.

    Attributes
    ----------
    path
        The truth file.
    models
        Number of models made by this call.
    training_seconds, loss_seconds
        Time they took, added up over workers.
    quarantined
        Training images and queries that could not be used.
    """

    path: Path
    models: int
    training_seconds: float
    loss_seconds: float
    quarantined: int


def retrain_subsets(config: RetrainConfig) -> RetrainResult:
    """Train the models that are missing, measure their losses, and write the truth file.

    Equal options give equal bytes on the same machine, however often the run was interrupted and
    however many workers it had.

    Raises
    ------
    InputError, ConfigurationError, ModelError
        If the model folder, a source or an option cannot be used.
    FingerprintMismatchError
        If OUT, or OUT.work, is about other subsets, another recipe or other queries.
    InterruptedRunError
        On Ctrl-C. Losses of finished models are kept, and checkpoints of the others.
    """
    plan = plan_retraining(config)
    stored = stored_truth(plan)
    finished = None if stored is None else _finished(plan, stored)
    if finished is not None:
        say(f"{config.out}: already complete")
        return finished
    require_place(config.where)
    plan.claim()
    if stored is not None:
        keep_stored_rows(plan, stored)
    record_run(config.out.with_suffix(".config.yaml"), config)
    with shared_folder(plan.work.path, keep_models=config.keep_models):
        times = make_missing(
            plan.missing(),
            len(plan.models()),
            config.where,
            kept_in=plan.work.path,
            visible=not config.quiet,
        )
        quarantined = _write(plan)
    training, losses = sum(t.training for t in times), sum(t.measuring for t in times)
    if training:
        say(
            f"{len(times)} models: training {training:,.0f} s, losses {losses:,.0f} s "
            f"({losses / training:.1%} of the training), added up over workers"
        )
    return RetrainResult(config.out, len(times), training, losses, quarantined)


def _finished(plan: RetrainPlan, truth: TruthFile) -> RetrainResult | None:
    """Return the result if the truth file is what this plan would write, its work kept or not."""
    config = plan.config
    left_out = truth.attributes["left-out-images"]
    wanted = json.loads(json.dumps(_attributes(plan, left_out)))
    if truth.attributes != wanted or len(truth.mask) != config.subsets:
        return None
    unread = sum(int(np.isnan(truth.loss(q.key)).any(axis=0).sum()) for q in plan.queries)
    return RetrainResult(config.out, 0, 0.0, 0.0, len(left_out) + unread)


def _write(plan: RetrainPlan) -> int:
    """Write the truth file; return the number of images that could not be used."""
    rows = {query.key: _rows(plan, query) for query in plan.queries}
    left_out = sorted({int(n) for kept in rows.values() for row in kept for n in row.left_out})
    mask = np.stack([plan.mask(subset) for subset in range(plan.config.subsets)])  # (M, N)
    mask[:, left_out] = False
    arrays: dict[str, NDArray[Any]] = {"mask": mask}
    for query in plan.queries:
        arrays |= _query_arrays(plan, query, rows[query.key])
    images = plan.recipe.images
    arrays["train_id"] = encoded_ids(images.sample_ids(0, len(images)))
    write_truth(plan.config.out, arrays, _attributes(plan, left_out))
    unread = sum(int(np.isnan(arrays[q.key]).any(axis=0).sum()) for q in plan.queries)
    return len(left_out) + unread


def _rows(plan: RetrainPlan, query: QuerySet) -> list[ModelRow]:
    return [_row(plan, query, name) for name in plan.models()]


def _row(plan: RetrainPlan, query: QuerySet, name: ModelName) -> ModelRow:
    row = plan.work.load_row(query.key, name)
    if row is None:
        raise CorruptFileError(
            f"the losses of model {name} were damaged since they were written",
            where=plan.work.path / query.key,
            remedy="run the same command again; it makes that model anew",
        )
    return row


def _query_arrays(
    plan: RetrainPlan, query: QuerySet, rows: list[ModelRow]
) -> dict[str, NDArray[Any]]:
    images, config = plan.opened(query), plan.config
    losses = np.full((config.seeds, config.subsets, len(images)), np.nan)  # (S, M, Q)
    for name, row in zip(plan.models(), rows, strict=True):
        losses[name.seed - config.first_seed, name.subset] = row.losses
    arrays: dict[str, NDArray[Any]] = {
        query.key: _mean_over_seeds(plan, losses),
        query_id_key(query.key): encoded_ids(images.sample_ids(0, len(images))),
    }
    return arrays | ({seeds_key(query.key): losses} if config.seeds > 1 else {})


def _mean_over_seeds(plan: RetrainPlan, losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means (M, Q) of losses (S, M, Q) over the models that each subset has."""
    means: NDArray[np.float64] = losses.mean(axis=0)
    again = plan.config.repeated_subsets
    if again is not None:
        means[again:] = losses[0, again:]
    return means


def _attributes(plan: RetrainPlan, left_out: list[int]) -> dict[str, Any]:
    config, recipe = plan.config, plan.recipe
    return {
        "format": _FORMAT,
        **plan.subset_facts,
        "image-shape": str(recipe.images.shape),
        "stratified": plan.strata is not None,
        "train-seeds": list(config.train_seeds),
        **_repeated(config),
        "timesteps": choose_timesteps(config.loss.loss_timesteps, recipe.num_timesteps),
        "queries": {
            query.key: {"name": query.name, **plan.query_facts(query)} for query in plan.queries
        },
        "left-out-images": left_out,
    }


def _repeated(config: RetrainConfig) -> dict[str, int]:
    """Return how many subsets have models of all seeds, where those are not all subsets."""
    again = config.repeated_subsets
    return {} if again in (None, config.subsets) else {REPEATED_SUBSETS: again}
