"""What a retraining run will make: subsets, models, and the fingerprints they are known by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.images import Images
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.recipe import Recipe, images_alone, read_recipe
from dtrak_stream.evaluation.retraining.configuration import RetrainConfig
from dtrak_stream.evaluation.retraining.job import RetrainJob
from dtrak_stream.evaluation.retraining.queries import QuerySet, parse_queries
from dtrak_stream.evaluation.retraining.rows import ModelName, ModelRow, WorkFolder
from dtrak_stream.evaluation.subsets import Mask, draw_subset, read_strata, strata_hash, subset_size
from dtrak_stream.evaluation.truth import REPEATED_SUBSETS, TRUTH_FILE, TruthFile
from dtrak_stream.objective.timesteps import choose_timesteps
from dtrak_stream.training.fingerprint import refuse_other


@dataclass(frozen=True)
class RetrainPlan:
    """The models of a run.

    Attributes
    ----------
    config
        The options.
    recipe
        How models are trained.
    queries
        What losses are measured on.
    strata
        (N,) class of each training image, if subsets are stratified.
    work
        Where losses are kept.
    """

    config: RetrainConfig
    recipe: Recipe
    queries: tuple[QuerySet, ...]
    strata: NDArray[np.int64] | None
    work: WorkFolder

    def claim(self) -> None:
        """Take the work folder for this plan, or refuse; see `WorkFolder.claim`."""
        self.work.claim(
            self.subset_facts, {query.key: self.query_facts(query) for query in self.queries}
        )

    def models(self) -> list[ModelName]:
        """Return every model, subset by subset within each seed: early results are whole seeds."""
        return [
            ModelName(subset, seed)
            for seed in self.config.train_seeds
            for subset in range(self.config.subsets_of(seed))
        ]

    def missing(self) -> list[RetrainJob]:
        """Return the jobs whose losses are not all kept yet."""
        return [self._job(name) for name in self.models() if not self._is_done(name)]

    def mask(self, subset: int) -> Mask:
        """Return which images a subset has, (N,) bool."""
        if self.config.complements and subset % 2:
            return ~self.mask(subset - 1)
        count, config = len(self.recipe.images), self.config
        size = subset_size(count, config.alpha)
        return draw_subset(count, size, seed=config.subset_seed, number=subset, strata=self.strata)

    def opened(self, query: QuerySet) -> Images:
        """Return the images of a set of queries, opened once."""
        return self._opened[query.key]

    @cached_property
    def subset_facts(self) -> dict[str, Any]:
        """Return what decides the models, but for their number."""
        return {
            "recipe": self.recipe.described(),
            "alpha": self.config.alpha,
            "subset-seed": self.config.subset_seed,
            "strata": strata_hash(self.strata),
            "complements": self.config.complements or None,  # as in files that don't say
            "threads": self.config.where.threads,
        }

    def query_facts(self, query: QuerySet) -> dict[str, Any]:
        """Return what decides the losses of a set of queries."""
        images = self.opened(query)
        described = self.config.loss.described()
        return {"queries": images.identity(), **images_alone(images), **described}

    @cached_property
    def _opened(self) -> dict[str, Images]:
        return {q.key: q.open(visible=not self.config.quiet) for q in self.queries}

    def _is_done(self, name: ModelName) -> bool:
        return all(self.work.has_row(query.key, name) for query in self.queries)

    def _job(self, name: ModelName) -> RetrainJob:
        subset = self.work.subset_file(name.subset, self.mask(name.subset))
        return RetrainJob(
            name=name,
            claim=self.work.claim_file(name),
            training=self.recipe.on_subset(subset, self.work.model_folder(name), name.seed),
            queries=self.queries,
            loss=self.config.loss,
            work=self.work,
            threads=self.config.where.threads,
            keep_model=self.config.keep_models,
        )


def plan_retraining(config: RetrainConfig) -> RetrainPlan:
    """Read recipe, images and queries, and refuse what cannot work before any training.

    Raises
    ------
    InputError, ConfigurationError, ModelError
        If the model folder, a source or an option cannot be used.
    """
    TRUTH_FILE.refuse_other(config.out, flag="--out")
    work = WorkFolder.beside(config.out)
    work.refuse_foreign()
    recipe = read_recipe(
        config.model,
        images=config.images,
        told=config.told,
        device=config.where.first_device,
        visible=not config.quiet,
    )
    options = recipe.config.image_options.elsewhere(config.query_split)
    queries = parse_queries(
        config.query,
        recipe.images.shape,
        options,
        recipe.conditioned_on,
        config.query_conditions.over(recipe.conditions),
    )
    choose_timesteps(config.loss.loss_timesteps, recipe.num_timesteps)
    strata = read_strata(config.stratify, len(recipe.images))
    plan = RetrainPlan(config, recipe, queries, strata, work)
    plan.mask(0)
    for query in queries:
        plan.opened(query)
    return plan


def stored_truth(plan: RetrainPlan) -> TruthFile | None:
    """Return the truth file of an earlier run of this plan; None if there is none.

    Raises
    ------
    FingerprintMismatchError
        If it is about other subsets, another recipe or other queries.
    ConfigurationError
        If it holds models or queries that this run would drop.
    InputError, CorruptFileError
        If something else is there, or it cannot be read.
    """
    path = plan.config.out
    if not TRUTH_FILE.refuse_other(path, flag="--out"):
        return None
    truth = TruthFile(path)
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
            for subset in range(_stored_subsets(truth, seed)):
                name, row = ModelName(subset, seed), of_seed[subset]
                if not plan.work.has_row(query.key, name):
                    plan.work.save_row(query.key, name, ModelRow(row, left_out))


def _stored_subsets(truth: TruthFile, seed: int) -> int:
    """Return how many subsets, the first ones, a truth file has models of a seed of."""
    if seed == truth.attributes["train-seeds"][0]:
        return len(truth.mask)
    return int(truth.attributes.get(REPEATED_SUBSETS, len(truth.mask)))


def _refuse_loss(plan: RetrainPlan, truth: TruthFile) -> None:
    config, seeds = plan.config, truth.attributes["train-seeds"]
    kept = set(seeds) <= set(config.train_seeds)
    dropped = {
        "--subsets": len(truth.mask) > config.subsets,
        "--seeds": not kept,
        "--repeated-subsets": kept
        and any(_stored_subsets(truth, seed) > config.subsets_of(seed) for seed in seeds),
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
