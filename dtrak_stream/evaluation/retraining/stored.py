"""A truth file that is already there: never lost, and its models never trained again."""

from __future__ import annotations

import numpy as np

from dtrak_stream.errors import ConfigurationError, DtrakStreamError
from dtrak_stream.evaluation.retraining.plan import RetrainPlan
from dtrak_stream.evaluation.retraining.rows import ModelName, ModelRow
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.support.progress import say
from dtrak_stream.training.fingerprint import refuse_other


def stored_truth(plan: RetrainPlan) -> TruthFile | None:
    """Return the truth file of an earlier run of this plan; None if there is none.

    Raises
    ------
    FingerprintMismatchError
        If it is about other subsets, another recipe or other queries.
    ConfigurationError
        If it holds models or queries that this run would drop.
    """
    path = plan.config.out
    if not path.exists():
        return None
    try:
        truth = TruthFile(path)
    except DtrakStreamError as error:
        say(f"{error}; writing it again")
        return None
    facts = plan.subset_facts
    refuse_other({name: truth.attributes.get(name) for name in facts}, facts, where=path)
    for query in plan.queries:
        known = truth.attributes["queries"].get(query.key)
        if known is not None:
            wanted = {"name": query.name, **plan.query_facts(query)}
            refuse_other(known, wanted, where=f"{path} [{query.key}]")
    _refuse_loss(plan, truth)
    return truth


def keep_stored_rows(plan: RetrainPlan, truth: TruthFile) -> None:
    """Put the losses in the truth file back where those of single models are kept."""
    left_out = np.array(truth.attributes["left-out-images"], np.int64)
    for query in plan.queries:
        if query.key not in truth.loss_keys:
            continue
        by_seed = truth.loss_of_seeds(query.key)
        losses = truth.loss(query.key)[None] if by_seed is None else by_seed  # (S, M, Q)
        for seed, of_seed in zip(truth.attributes["train-seeds"], losses, strict=True):
            for subset, row in enumerate(of_seed):
                name = ModelName(subset, seed)
                if not plan.work.has_row(query.key, name):
                    plan.work.save_row(query.key, name, ModelRow(row, left_out))


def _refuse_loss(plan: RetrainPlan, truth: TruthFile) -> None:
    config = plan.config
    seeds = set(range(config.first_seed, config.first_seed + config.seeds))
    dropped = {
        "--subsets": len(truth.mask) > config.subsets,
        "--seeds": not set(truth.attributes["train-seeds"]) <= seeds,
        "--query": not set(truth.loss_keys) <= {query.key for query in plan.queries},
    }
    for flag, drops in dropped.items():
        if drops:
            raise ConfigurationError(
                f"{config.out} holds more than these, which would be lost "
                f"({len(truth.mask)} subsets, seeds {truth.attributes['train-seeds']}, "
                f"{', '.join(truth.loss_keys)})",
                where=flag,
                remedy="give at least what is there, or --out a new file",
            )
