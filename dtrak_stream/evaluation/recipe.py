"""The recipe of a model: the options it was trained with, as its folder records them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import with_effect
from dtrak_stream.data.samples import ConditionKind
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.evaluation.truth import IMAGES_ALONE
from dtrak_stream.model.layout import LORA_FILE
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.model.places import model_root
from dtrak_stream.model.told_options import ToldOptions
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.provenance import flat_options
from dtrak_stream.training.configuration import TrainingConfig
from dtrak_stream.training.fingerprint import read_fingerprint
from dtrak_stream.training.first_weights import first_weights_hash
from dtrak_stream.training.loop import AnyTraining
from dtrak_stream.training.lora_configuration import LoraTrainingConfig
from dtrak_stream.training.lora_run import open_training_images

_RECORD = "training.yaml"
# what differs between the full model and one trained on a part of its images, or never matters
_NOT_RECIPE = {
    "quiet",
    "images",
    "model",
    "start-from",
    "limit",
    "subset",
    "out",
    "device",
    "seed",
    "checkpoint-every",
    "image-cache-mib",
    # said by the base of a LoRA and the shape of images
    "size",
    "guidance",
    "t5-tokens",
    "time-ids",
    "base",
}


@dataclass(frozen=True)
class Recipe:
    """How a model was trained, and on which images.

    Attributes
    ----------
    config
        The options, with the images as they are found now.
    images
        The training images, in order.
    num_timesteps
        T, of the noise that the model learns.
    base
        What a LoRA was trained on, or a model began with, by its weights; empty for one from
        scratch.
    """

    config: AnyTraining
    images: Images
    num_timesteps: int
    base: str = ""

    @property
    def conditioned_on(self) -> ConditionKind:
        """Return what the model is told of images."""
        return self.images.conditioned_on

    @property
    def conditions(self) -> ConditionOptions:
        """Return where that is."""
        config = self.config
        return config.conditions if isinstance(config, LoraTrainingConfig) else ConditionOptions()

    def on_subset(self, subset: Path, out: Path, seed: int) -> AnyTraining:
        """Return the same training on the images whose numbers stand in the file `subset`."""
        return dataclasses.replace(self.config, subset=subset, out=out, seed=seed)

    def described(self) -> dict[str, object]:
        """Return what decides a retrained model besides its images and its seed."""
        options = with_effect(flat_options(self.config))
        return {name: value for name, value in options.items() if name not in _NOT_RECIPE} | {
            "image-identity": self.images.identity(),
            "image-shape": str(self.images.shape),
            **images_alone(self.images),
            **({"base": self.base} if self.base else {}),
        }


def images_alone(images: Images) -> dict[str, str]:
    """Return the hash of images that are told with something, without what they are of.

    Scores are of images, whatever these are of: this is what theirs is compared with. Nothing for
    images that are told with nothing: their hash is of them alone.
    """
    alone = images.images_identity()
    return {} if alone == images.identity() else {IMAGES_ALONE: alone}


def read_recipe(
    model: str,
    *,
    images: str | None = None,
    told: ToldOptions = ToldOptions(),  # noqa: B008 (frozen)
    device: str = "auto",
    visible: bool = True,
) -> Recipe:
    """Read how `model` was trained, and open its training images.

    Parameters
    ----------
    model
        A folder that dtrak-stream train or train-lora wrote, or the model that comes along.
    images
        Where the training images are now, if not where they were; they must be the same ones.
    told
        What the base of a LoRA is told besides, where the record of its training does not say it.
    device
        Where retraining runs.
    visible
        Whether to show progress bars.

    Raises
    ------
    InputError
        If the folder records no training, or the images or the base of a LoRA cannot be opened.
    ConfigurationError
        If the model itself was trained on a subset, or it is told nothing and something is given.
    FingerprintMismatchError
        If the images, or the base of a LoRA, are not those the model was trained on.
    """
    root = model_root(model)
    config = _recorded(root)
    if config.subset is not None:
        raise ConfigurationError(
            "the model was itself trained on a subset of its images",
            where=root / _RECORD,
            remedy="give a model that was trained on all of its --images",
        )
    limit = config.limit if images is None else None
    config = dataclasses.replace(config, images=images or config.images, limit=limit, device=device)
    if isinstance(config, LoraTrainingConfig):
        config = dataclasses.replace(config, told=told.over(config.told))
        recipe = _of_lora(root, config, visible)
    else:
        _refuse_told(told, root)
        recipe = _of_network(root, config, visible)
    _refuse_other(root, "image-identity", recipe.images.identity(), where=recipe.images.spec)
    return recipe


def _of_network(root: Path, config: TrainingConfig, visible: bool) -> Recipe:
    images = open_images(
        config.images, None, config.image_options, limit=config.limit, visible=visible
    )
    first = ""
    if config.start_from is not None:
        first = first_weights_hash(config.start_from)
        _refuse_other(root, "first-weights", first, where=config.start_from)
    return Recipe(config, images, config.noise_schedule.num_train_timesteps, first)


def _refuse_told(told: ToldOptions, root: Path) -> None:
    for flag in told.given:
        raise ConfigurationError(
            f"{root} is told nothing but the image, and its record says all there is to say",
            where=flag,
            remedy="leave it out",
        )


def _of_lora(root: Path, config: LoraTrainingConfig, visible: bool) -> Recipe:
    base = load_denoiser(config.model, config.told.loading())
    weights = weights_hash(base.network)
    _refuse_other(root, "model", base.identity, where=config.model)
    _refuse_other(root, "weights", weights, where=config.model)
    images = open_training_images(config, base, visible=visible)
    return Recipe(config, images, base.schedule.num_timesteps, f"{base.identity} {weights}")


def _recorded(root: Path) -> AnyTraining:
    record = root / _RECORD
    if not record.is_file():
        raise InputError(
            f"holds no {_RECORD}: how the model was trained is not known",
            where=root,
            remedy="give a model folder that dtrak-stream train or train-lora wrote",
        )
    arguments = ["--config", str(record)]
    if (root / LORA_FILE).is_file():
        return parse(LoraTrainingConfig, arguments)
    return parse(TrainingConfig, arguments)


def _refuse_other(root: Path, name: str, found: str, *, where: str) -> None:
    """Refuse what is not as the model in `root` was trained with it."""
    stored = (read_fingerprint(root) or {}).get(name)
    what = "images" if name == "image-identity" else "model"
    if stored is not None and stored != found:
        raise FingerprintMismatchError(
            name,
            stored,
            found,
            where=where,
            remedy=f"give the {what} that {root} was trained on",
        )
