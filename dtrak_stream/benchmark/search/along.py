"""Models along a training: the recipe of a model repeated here, as far as recipes ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dtrak_stream.benchmark.lds.subjects import Subject
from dtrak_stream.benchmark.search.options import SearchConfig
from dtrak_stream.benchmark.search.recipes import SHARES, Recipe
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.recipe import read_recipe
from dtrak_stream.training.configuration import TrainingConfig
from dtrak_stream.training.run import weights_along

Along = dict[float, Subject]


def subjects_along(config: SearchConfig, subject: Subject, recipes: Sequence[Recipe]) -> Along:
    """Return the data set with its model at each share of training, up to the largest asked for.

    The model is trained by the recipe that its folder records, from the same first weights. Another
    processor may round otherwise, so the end need not be the model that it repeats.

    Raises
    ------
    ConfigurationError
        If the model was not trained by itself, but on another.
    InterruptedRunError
        On Ctrl-C, with a checkpoint saved.
    """
    asked = [each.features.trained for recipe in recipes for each in recipe.terms]
    shares = [share for share in SHARES if share <= max((each or 0 for each in asked), default=0)]
    if not shares:
        return {}
    torch.set_num_threads(config.where.threads)
    training = _training(config, subject)
    models = weights_along(training, shares, visible=not config.quiet)
    return {
        share: replace(subject, model=str(model))
        for share, model in zip(shares, models, strict=True)
    }


def _training(config: SearchConfig, subject: Subject) -> TrainingConfig:
    found = read_recipe(
        subject.model, images=subject.train, device=config.where.first_device, visible=False
    ).config
    if not isinstance(found, TrainingConfig):
        raise ConfigurationError(
            "is a LoRA, and its training is not repeated here",
            where=subject.model,
            remedy="leave out the recipes along training",
        )
    out: Path = config.work / subject.name / "trained"
    return replace(found, out=out, quiet=config.quiet)
