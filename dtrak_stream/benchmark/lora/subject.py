"""What the LoRA benchmark is about: a LoRA of digits, what it made, and the truth about both."""

from __future__ import annotations

from pathlib import Path

from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Subject, work_folder
from dtrak_stream.benchmark.lora.generated import generate_digits
from dtrak_stream.benchmark.lora.options import LoraBenchConfig
from dtrak_stream.benchmark.lora.parts import DIGITS
from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.retraining.configuration import RetrainConfig
from dtrak_stream.evaluation.retraining.run import retrain_subsets
from dtrak_stream.model.places import EMBEDDED_BASE, EMBEDDED_FOLDER, EMBEDDED_LORA
from dtrak_stream.training.configuration import OptimisationOptions
from dtrak_stream.training.lora_configuration import LoraLayerOptions, LoraTrainingConfig
from dtrak_stream.training.lora_run import train_lora

NAME = "digits-lora"
TRAIN = "sklearn:digits[0:500]"
_SIDE = 16
_STRETCHED = ImageOptions(image_fit="stretch")
_NAMES = ", ".join(f"{digit} as {name}" for digit, name in enumerate(DIGITS))
_CAPTIONS = ConditionOptions(caption_template=f"a handwritten {{target, {_NAMES}}}")
_RANK, _DROPOUT, _BATCH, _RATE = 4, 0.1, 32, 2e-3
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff", "conv1", "conv2")
_LOSS = LossOptions(loss_timesteps="10")


def validation(count: int) -> str:
    """Return the digits that the LoRA was not trained on, as an image source."""
    return f"sklearn:digits[1000:{1000 + count}]"


def shipped() -> Subject:
    """Return the LoRA that comes along, with its images and the truth."""
    return _subject(
        EMBEDDED_BASE,
        EMBEDDED_LORA,
        EMBEDDED_FOLDER / "digits_lora_generated",
        EMBEDDED_FOLDER / "digits_lora_truth.npz",
        200,
    )


def made(config: LoraBenchConfig, base: str) -> Subject:
    """Train a LoRA of `base`, let it make images, and retrain it on halves; resumably.

    Raises
    ------
    DtrakStreamError
        If the base is refused, or OUT.work holds what was made of another or with other options.
    InterruptedRunError
        On Ctrl-C. The same call goes on where it stopped.
    """
    folder, visible = work_folder(config, NAME), not config.quiet
    lora, generated, truth = folder / "lora", folder / "generated", folder / "truth.npz"
    train_lora(training(config, base, lora), visible=visible)
    generate_digits(base, str(lora), generated, config.images, visible=visible)
    subject = _subject(base, str(lora), generated, truth, config.images)
    retrain_subsets(
        RetrainConfig(
            truth,
            tuple(f"{name}={subject.queries(name)}" for name in QUERY_SETS),
            model=str(lora),
            subsets=config.subsets,
            seeds=config.seeds,
            loss=_LOSS,
            where=config.where,
            quiet=config.quiet,
        )
    )
    return subject


def training(config: LoraBenchConfig, base: str, out: Path) -> LoraTrainingConfig:
    """Return how the LoRA is trained: 57,984 numbers, 16 steps an epoch."""
    return LoraTrainingConfig(
        TRAIN,
        base,
        out,
        caption_dropout=_DROPOUT,
        device=config.where.device,
        image_options=_STRETCHED,
        conditions=_CAPTIONS,
        layers=LoraLayerOptions(_RANK, target_modules=_LAYERS),
        optimisation=OptimisationOptions(
            epochs=config.epochs, batch_size=_BATCH, learning_rate=_RATE
        ),
        quiet=config.quiet,
    )


def _subject(base: str, lora: str, generated: Path, truth: Path, count: int) -> Subject:
    return Subject(
        NAME,
        base,
        TRAIN,
        validation(count),
        str(generated),
        truth,
        generated,
        lora=lora,
        image_options=_STRETCHED,
        conditions=_CAPTIONS,
        side=_SIDE,
    )
