"""Data sets whose models are made here: the full one, what it generates, and those of halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dtrak_stream.benchmark.lds.fashion_mnist import write_fashion_mnist, write_other_garments
from dtrak_stream.benchmark.lds.options import DataName, LdsBenchConfig
from dtrak_stream.benchmark.lds.sprites import write_other_sprites, write_sprites
from dtrak_stream.benchmark.lds.subjects import GENERATED, QUERY_SETS, Subject, work_folder
from dtrak_stream.evaluation.retraining.configuration import RetrainConfig
from dtrak_stream.evaluation.retraining.run import retrain_subsets
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate
from dtrak_stream.model.places import EMBEDDED_FOLDER
from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    OptimisationOptions,
    TrainingConfig,
)
from dtrak_stream.training.run import train


@dataclass(frozen=True)
class MadeData:
    """A data set, and how models of it are made.

    Attributes
    ----------
    name
        What it is called.
    write_images
        Writes training and validation images (.npy) from where a user has them.
    architecture, optimisation
        The network and how it is trained.
    write_first_images
        Writes the images (.npy) of the model that training begins with; None for random weights.
    first_optimisation
        How that model is trained.
    complements
        Whether halves come in pairs that make up the whole.
    comes_along
        Whether model, generated images and truth were made before and come with the package; the
        images themselves never do.
    """

    name: DataName
    write_images: Callable[[Path, Path, Path], None]
    architecture: ArchitectureOptions
    optimisation: OptimisationOptions
    write_first_images: Callable[[Path, Path], None] | None = None
    first_optimisation: OptimisationOptions = OptimisationOptions()  # noqa: RUF009 (frozen)
    complements: bool = False
    comes_along: bool = False

    def subject(self, config: LdsBenchConfig) -> Subject:
        """Return the data set as it will be once `prepare` is done."""
        folder = work_folder(config, self.name)
        if self._is_there(config):
            name = self.name.replace("-", "_")
            made, model = EMBEDDED_FOLDER, f"embedded:{name}_ddpm"
            generated, truth = f"{name}_generated", f"{name}_truth.npz"
        else:
            made, model = folder, str(folder / "model")
            generated, truth = "generated", "truth.npz"
        return Subject(
            self.name,
            model,
            str(folder / "train.npy"),
            str(folder / "validation.npy"),
            str(made / generated),
            made / truth,
            folder / "generated-again",
        )

    def _is_there(self, config: LdsBenchConfig) -> bool:
        return self.comes_along and not config.remake

    def prepare(self, config: LdsBenchConfig, source: Path) -> None:
        """Write the images; train the full model, generate, and retrain on halves; resumably.

        Of what comes along, the images alone are written.

        Raises
        ------
        InputError, CorruptFileError
            If the files of the data set are not there or not what they should be.
        InterruptedRunError
            On Ctrl-C. The same call goes on where it stopped.
        """
        subject, visible = self.subject(config), not config.quiet
        self.write_images(source, Path(subject.train), Path(subject.validation))
        if self._is_there(config):
            return
        train(self._training(config, self._trained_first(config, source)), visible=visible)
        device = config.where.first_device
        generation = GenerationConfig(
            Path(subject.generated), subject.model, GENERATED, device=device
        )
        generate(generation, visible=visible)
        retrain_subsets(self._retraining(config, subject))

    def _trained_first(self, config: LdsBenchConfig, source: Path) -> str | None:
        """Return the model that training begins with, trained."""
        if self.write_first_images is None:
            return None
        folder = work_folder(config, self.name)
        images, model = folder / "first.npy", folder / "first-model"
        self.write_first_images(source, images)
        training = replace(
            self._training(config, None),
            images=str(images),
            out=model,
            optimisation=self.first_optimisation,
        )
        train(training, visible=not config.quiet)
        return str(model)

    def _training(self, config: LdsBenchConfig, first: str | None) -> TrainingConfig:
        subject = self.subject(config)
        return TrainingConfig(
            images=subject.train,
            out=Path(subject.model),
            start_from=first,
            device=config.where.first_device,
            architecture=self.architecture,
            optimisation=self.optimisation,
        )

    def _retraining(self, config: LdsBenchConfig, subject: Subject) -> RetrainConfig:
        return RetrainConfig(
            subject.truth,
            tuple(f"{name}={subject.queries(name)}" for name in QUERY_SETS),
            model=subject.model,
            images=subject.train,
            subsets=config.subsets,
            seeds=config.seeds,
            repeated_subsets=config.repeated_subsets if config.seeds > 1 else None,
            complements=self.complements,
            where=config.where,
            quiet=config.quiet,
        )


FASHION_MNIST = MadeData(
    "fashion-mnist",
    write_fashion_mnist,
    ArchitectureOptions(
        block_out_channels=(8, 16, 32),
        layers_per_block=1,
        attention_levels=(2,),
        norm_num_groups=8,
    ),
    OptimisationOptions(epochs=60, batch_size=64, learning_rate=0.002, ema=True, ema_decay=0.99),
    write_other_garments,
    OptimisationOptions(epochs=60, batch_size=64, learning_rate=0.002, ema=True, ema_decay=0.995),
    complements=True,
    comes_along=True,
)
"""173,209 parameters, trained on other garments for 2,820 steps, and on these for 960."""

SPRITES = MadeData(
    "sprites",
    write_sprites,
    ArchitectureOptions(
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        attention_levels=(2,),
        norm_num_groups=8,
    ),
    OptimisationOptions(epochs=50, batch_size=64, learning_rate=0.002, ema=True, ema_decay=0.99),
    write_other_sprites,
    OptimisationOptions(epochs=80, batch_size=64, learning_rate=0.002, ema=True, ema_decay=0.995),
    complements=True,
    comes_along=True,
)
"""280,755 parameters, trained on sprites of other classes for 2,800 steps, and on these for 800."""
