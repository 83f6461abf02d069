"""What a counterfactual run will make: removals, models, and what they are known by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from dtrak_stream.evaluation.counterfactual.configuration import (
    RANDOM,
    CounterfactualConfig,
    parse_methods,
    removal_count,
)
from dtrak_stream.evaluation.counterfactual.job import CounterfactualJob, OutcomeFolder
from dtrak_stream.evaluation.counterfactual.queries import GeneratedQueries, read_generated
from dtrak_stream.evaluation.counterfactual.removal import (
    Removal,
    images_left,
    proponent_removals,
    random_removal,
)
from dtrak_stream.evaluation.recipe import Recipe, read_recipe
from dtrak_stream.evaluation.retrained_models import load_trained
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.model.places import model_root
from dtrak_stream.objective.timesteps import choose_timesteps
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.durable import remove_partials, write_npy
from dtrak_stream.training.fingerprint import (
    FINGERPRINT_FILE,
    begin_folder,
    read_fingerprint,
    refuse_other,
)

# said by its weights and those of its base
_OF_THE_MODEL = {"scheduler", "decoder"}


@dataclass(frozen=True)
class CounterfactualPlan:
    """The models of a run.

    Attributes
    ----------
    config
        The options.
    recipe
        How models are trained.
    full
        The model that made the queries.
    queries
        What is made again.
    removals
        For each method, what is removed for each query number, one removal for each repetition.
    """

    config: CounterfactualConfig
    recipe: Recipe
    full: Denoiser
    queries: GeneratedQueries
    removals: dict[str, dict[int, list[Removal]]]

    @property
    def folder(self) -> OutcomeFolder:
        """Return where outcomes are kept."""
        return OutcomeFolder(self.config.out)

    def claim(self) -> None:
        """Take the folder for this run, or refuse.

        Raises
        ------
        FingerprintMismatchError
            If it was begun with another model, other queries or another loss.
        InputError
            If it holds what no command of this package began.
        """
        out, wanted = self.config.out, self._facts()
        refuse_foreign_folder(out, FINGERPRINT_FILE, flag="--out")
        stored = read_fingerprint(out)
        if stored is not None:
            refuse_other(stored, wanted, where=out)
        remove_partials(out)
        begin_folder(out, wanted)
        (out / "outcomes").mkdir(exist_ok=True)
        remove_partials(out / "outcomes")

    def models(self) -> dict[str, tuple[Removal, tuple[int, ...]]]:
        """Return every model by its name: what it lacks, and which queries it is asked for."""
        models: dict[str, tuple[Removal, tuple[int, ...]]] = {}
        for by_query in self.removals.values():
            for number, removals in by_query.items():
                for removal in removals:
                    _, numbers = models.get(removal.name, (removal, ()))
                    asked = tuple(sorted({*numbers, number}))
                    models[removal.name] = (removal, asked)
        return models

    def missing(self) -> list[CounterfactualJob]:
        """Return the jobs whose outcomes are not all kept yet."""
        jobs = []
        for name, (removal, numbers) in self.models().items():
            left = tuple(n for n in numbers if self.folder.load(name, n) is None)
            if left:
                jobs.append(self._job(name, removal, left))
        return jobs

    def _job(self, name: str, removal: Removal, numbers: tuple[int, ...]) -> CounterfactualJob:
        subset = self.config.out / "subsets" / f"{name}.npy"
        if not subset.exists():
            write_npy(subset, removal.kept)
        out, seed = self.config.out / "models" / name, self.recipe.config.seed
        return CounterfactualJob(
            model=name,
            claim=self.config.out / "claims" / name,
            training=self.recipe.on_subset(subset, out, seed),
            queries=dataclasses.replace(self.queries, numbers=numbers),
            loss=self.config.loss,
            folder=self.folder,
            threads=self.config.where.threads,
            keep_model=self.config.keep_models,
        )

    def _facts(self) -> dict[str, Any]:
        made = self.queries.sampler(self.full).identity
        return {
            "recipe": self.recipe.described(),
            "train-seed": self.recipe.config.seed,
            "weights": weights_hash(self.full.network),
            **{name: value for name, value in made.items() if name not in _OF_THE_MODEL},
            "seed": self.queries.config.seed,
            "threads": self.config.where.threads,
            **self.config.loss.described(),
        }


def plan_counterfactual(config: CounterfactualConfig) -> CounterfactualPlan:
    """Read everything, and refuse what cannot work before any training.

    Raises
    ------
    DtrakStreamError
        If the model, a source, a scores file or an option cannot be used.
    """
    refuse_foreign_folder(config.out, FINGERPRINT_FILE, flag="--out")
    methods = parse_methods(config.scores)
    recipe = read_recipe(
        config.model,
        images=config.images,
        told=config.told,
        device=config.where.first_device,
        visible=not config.quiet,
    )
    choose_timesteps(config.loss.loss_timesteps, recipe.num_timesteps)
    full = _full_model(config, recipe)
    queries = read_generated(config.generated, config.queries, full.image_shape)
    queries.refuse_other_model(full)
    left, count = images_left(methods.values(), recipe.images), len(recipe.images)
    removed = removal_count(config.remove, len(left))
    random = [
        random_removal(left, count, removed, seed=config.random_seed, number=number)
        for number in range(config.random)
    ]
    removals = {RANDOM: dict.fromkeys(queries.numbers, random)}
    for name, path in methods.items():
        found = proponent_removals(path, queries, recipe, removed)
        by_number = zip(queries.numbers, found.values(), strict=True)
        removals[name] = {number: [removal] for number, removal in by_number}
    return CounterfactualPlan(config, recipe, full, queries, removals)


def _full_model(config: CounterfactualConfig, recipe: Recipe) -> Denoiser:
    if recipe.base:
        return load_trained(dataclasses.replace(recipe.config, out=model_root(config.model)))
    return load_denoiser(config.model, device=choose_device(config.where.first_device))
