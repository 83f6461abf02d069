"""Every option of a counterfactual evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.model.told_options import ToldOptions
from dtrak_stream.support.option_values import own_folders, require_seed

RANDOM = "random"
_NAMED = re.compile(r"(?P<name>[^=/\s]+)=(?P<path>.+)", re.DOTALL)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class CounterfactualConfig:
    """Remove what a generated image is said to be due to, retrain, and generate it again.

    For each query and each method, the images with the highest scores are removed, the model is
    trained again as the full one was, with its seed, and the query is generated again from its own
    seed. How far it has moved is compared with the removal of as many random images. Random
    removals do not depend on the query, so one model of each serves all queries. An interrupted run
    goes on when the same command is given again; more queries and methods may be added.
    """

    scores: tuple[str, ...]
    """Methods: NAME=scores.h5, several may follow each other."""
    generated: Path
    """Folder of generated images that dtrak-stream generate wrote; they are the queries of the
    scores."""
    out: Path = field(metadata=own_folders())
    """Folder for results, figures and what is needed to go on."""
    model: str = EMBEDDED_MODEL
    """Folder of the full model, from dtrak-stream train (or the small model that comes along), or
    of a LoRA, from dtrak-stream train-lora: then LoRAs of the same base are trained."""
    images: str | None = None
    """Where the training images are now, if not where the model's folder says."""
    queries: int = 20
    """Number of queries, the first ones of the folder."""
    remove: str = "20%"
    """Images to remove: a number, or a share of the training images such as 20% (of those that were
    not taken out of the stores of the scores)."""
    random: int = 3
    """Number of random removals to compare with."""
    random_seed: int = 0
    """Seed of the random removals."""
    clip: str | None = None
    """CLIP model to compare images by the cosine of its features: a folder that save_pretrained \
wrote, or a hub id."""
    keep_models: bool = False
    """Keep the retrained models, in OUT/models."""
    told: tyro.conf.OmitArgPrefixes[ToldOptions] = field(default_factory=ToldOptions)
    """What the base of a LoRA is told besides, where its training does not say it."""
    loss: tyro.conf.OmitArgPrefixes[LossOptions] = field(default_factory=LossOptions)
    """What the loss of a query is."""
    where: tyro.conf.OmitArgPrefixes[WorkerOptions] = field(default_factory=WorkerOptions)
    """Where models are trained."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--scores", len(self.scores), 1),
            ("--queries", self.queries, 1),
            ("--random", self.random, 1),
        ):
            if value < least:
                raise ConfigurationError(
                    f"{value} is not supported", where=flag, remedy=f"give {least} or more"
                )
        require_seed(self.random_seed, "--random-seed")


def parse_methods(given: tuple[str, ...]) -> dict[str, Path]:
    """Turn `NAME=scores.h5` into name and path.

    Raises
    ------
    ConfigurationError
        If a name is missing, taken or reserved.
    """
    methods: dict[str, Path] = {}
    for text in given:
        match = _NAMED.fullmatch(text)
        if match is None or match["name"] in methods or match["name"] == RANDOM:
            raise ConfigurationError(
                "is not a method of its own" if match else "has no name",
                where=f"--scores {text}",
                remedy=f"write NAME=scores.h5, with names all different and none {RANDOM!r}",
            )
        methods[match["name"]] = Path(match["path"])
    return methods


def removal_count(text: str, count: int) -> int:
    """Return how many of `count` images `20%` or `200` are.

    Raises
    ------
    ConfigurationError
        If it is neither, or removes none or all.
    """
    percent = _PERCENT.fullmatch(text)
    if percent:
        removed = round(float(percent[1]) / 100 * count)
    else:
        removed = int(text) if text.isdecimal() else 0
    if not 0 < removed < count:
        raise ConfigurationError(
            f"does not say how many of {count} images to remove",
            where=f"--remove {text}",
            remedy="give a number below that, or a share such as 20%",
        )
    return removed
