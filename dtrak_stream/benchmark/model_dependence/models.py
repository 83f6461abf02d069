"""The models that are compared: of the two halves of a pool, and of a pool with repeated images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from dtrak_stream.benchmark.model_dependence.options import ModelDependenceConfig
from dtrak_stream.data.images import Images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.recipe import Recipe, read_recipe
from dtrak_stream.evaluation.subsets import draw_subset, subset_size
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate
from dtrak_stream.model.places import model_root
from dtrak_stream.support.durable import write_npy
from dtrak_stream.training.configuration import TrainingConfig
from dtrak_stream.training.run import train

HALVES = ("half-0", "half-1")
REPEATED, FULL = "repeated", "full"
TIMES_SHOWN = (10, 50)
"""How often repeated images are shown, where others are shown once."""
_HALVES_DRAW, _REPEATED_DRAW = 0, 1
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Design:
    """Which images of the pool each model is trained on.

    Attributes
    ----------
    seen
        (2, N) bool: what the models of the two halves saw; each image was seen by one of them.
    times
        (N,) how often each image is in the pool with repeated images.
    """

    seen: Mask
    times: Counts

    def shown(self, times: int) -> Counts:
        """Return the numbers of the images that are there so many times, in order."""
        return np.flatnonzero(self.times == times)


def draw_design(count: int, repeated: int, seed: int) -> Design:
    """Draw halves and repeated images: a pure function of its arguments.

    The first half is the first subset that retraining on subsets draws.

    Parameters
    ----------
    count
        N, the images of the pool.
    repeated
        Images shown 10 times, and as many others shown 50 times.
    seed
        Of subsets.

    Raises
    ------
    ConfigurationError
        If fewer than half of the images would be shown once.
    """
    if 2 * len(TIMES_SHOWN) * repeated > count:
        raise ConfigurationError(
            f"leaves fewer than half of {count} images that are shown once",
            where=f"--repeated {repeated}",
            remedy=f"give at most {count // (2 * len(TIMES_SHOWN))}",
        )
    first = draw_subset(count, subset_size(count, 0.5), seed=seed, number=_HALVES_DRAW)
    chosen = draw_subset(count, len(TIMES_SHOWN) * repeated, seed=seed, number=_REPEATED_DRAW)
    times = np.ones(count, np.int64)
    times[chosen] = np.resize(TIMES_SHOWN, int(chosen.sum()))  # 10, 50, 10, 50, ...
    return Design(np.stack([first, ~first]), times)


@dataclass(frozen=True)
class Pool:
    """A model, the images that it was trained on, and how.

    Attributes
    ----------
    model
        Its folder.
    recipe
        How it was trained.
    training
        The same options; it is no LoRA.
    """

    model: str
    recipe: Recipe
    training: TrainingConfig

    @property
    def images(self) -> Images:
        """Return the images, in order."""
        return self.recipe.images


def open_pool(config: ModelDependenceConfig) -> Pool:
    """Return the model and its training images.

    Raises
    ------
    InputError, FingerprintMismatchError
        As `read_recipe`.
    ConfigurationError
        If the model is a LoRA, or itself trained on a subset.
    """
    recipe = read_recipe(
        config.model,
        images=config.images,
        device=config.where.first_device,
        visible=not config.quiet,
    )
    if not isinstance(recipe.config, TrainingConfig):
        raise ConfigurationError(
            "is a LoRA, and whole models are compared here",
            where=f"--model {config.model}",
            remedy="give the folder of a model that dtrak-stream train wrote",
        )
    return Pool(config.model, recipe, recipe.config)


def model_folder(config: ModelDependenceConfig, name: str) -> str:
    """Return where a model is: the full one, or one that is made here."""
    return config.model if name == FULL else str(config.work / name)


def generated_folder(config: ModelDependenceConfig, name: str) -> str:
    """Return where the images are that one of the models generated."""
    return str(config.work / f"{name}-generated")


def make_models(config: ModelDependenceConfig, pool: Pool, design: Design) -> None:
    """Train the models that are not there yet, and let each generate its images.

    Raises
    ------
    FingerprintMismatchError
        If a folder was begun with another recipe, another seed or other images.
    InterruptedRunError
        On Ctrl-C. The same call goes on where it stopped.
    """
    torch.set_num_threads(config.where.threads)
    for training in trainings(config, pool, design):
        train(training, visible=not config.quiet)
        generation = GenerationConfig(
            Path(generated_folder(config, training.out.name)),
            str(training.out),
            config.generated,
            device=config.where.first_device,
        )
        generate(generation, visible=not config.quiet)


def trainings(config: ModelDependenceConfig, pool: Pool, design: Design) -> list[TrainingConfig]:
    """Return how each model is trained; what it is trained on is written.

    All begin with the same weights: what differs between the halves is the images.
    """
    found = []
    for name, seen in zip(HALVES, design.seen, strict=True):
        subset = config.work / f"{name}.npy"
        write_npy(subset, np.flatnonzero(seen))
        out = config.work / name
        found.append(dataclasses.replace(pool.training, subset=subset, out=out, seed=config.seed))
    return [*found, _on_repeated(config, pool, design)] if config.repeated else found


def _on_repeated(config: ModelDependenceConfig, pool: Pool, design: Design) -> TrainingConfig:
    """Return training on the pool with repeated images, for as many steps as on a half of it.

    The images are written as the model sees them: no source names an image twice.
    """
    images = config.work / f"{REPEATED}.npy"
    write_npy(images, np.repeat(pixels(pool.images), design.times, axis=0))
    optimisation = pool.training.optimisation
    steps_per_epoch = -(-int(design.seen[0].sum()) // optimisation.batch_size)
    return dataclasses.replace(
        pool.training,
        images=str(images),
        image_options=ImageOptions(float_range="signed"),
        limit=None,
        out=config.work / REPEATED,
        seed=config.seed,
        optimisation=dataclasses.replace(
            optimisation, steps=optimisation.total_steps(steps_per_epoch)
        ),
    )


def pixels(images: Images) -> NDArray[np.float32]:
    """Return all images as a model sees them, (N, H, W, C) float32 in [-1, 1]."""
    stack = torch.stack([images.image(i) for i in range(len(images))])  # (N, C, H, W)
    return np.ascontiguousarray(stack.permute(0, 2, 3, 1).numpy())


def weights_digest(model: str) -> str:
    """Return a hash of the files that hold the weights of a model."""
    digest = xxhash.xxh3_128()
    for path in sorted(model_root(model).rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
