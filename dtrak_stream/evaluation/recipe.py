"""The recipe of a model: the options it was trained with, as its folder records them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import with_effect
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.model.places import model_root
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.provenance import flat_options
from dtrak_stream.training.configuration import TrainingConfig
from dtrak_stream.training.fingerprint import read_fingerprint

_RECORD = "training.yaml"
# what differs between the full model and one trained on a part of its images, or never matters
_NOT_RECIPE = {
    "quiet",
    "images",
    "limit",
    "subset",
    "out",
    "device",
    "seed",
    "checkpoint-every",
    "image-cache-mib",
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
    """

    config: TrainingConfig
    images: Images

    def on_subset(self, subset: Path, out: Path, seed: int) -> TrainingConfig:
        """Return the same training on the images whose numbers stand in the file `subset`."""
        return dataclasses.replace(self.config, subset=subset, out=out, seed=seed)

    def described(self) -> dict[str, object]:
        """Return what decides a retrained model besides its images and its seed."""
        options = with_effect(flat_options(self.config))
        return {name: value for name, value in options.items() if name not in _NOT_RECIPE} | {
            "image-identity": self.images.identity(),
            "image-shape": str(self.images.shape),
        }


def read_recipe(
    model: str, *, images: str | None = None, device: str = "auto", visible: bool = True
) -> Recipe:
    """Read how `model` was trained, and open its training images.

    Parameters
    ----------
    model
        A folder that dtrak-stream train wrote, or the model that comes along.
    images
        Where the training images are now, if not where they were; they must be the same ones.
    device
        Where retraining runs.
    visible
        Whether to show progress bars.

    Raises
    ------
    InputError
        If the folder records no training, or the images cannot be opened.
    ConfigurationError
        If the model itself was trained on a subset.
    FingerprintMismatchError
        If the images are not those the model was trained on.
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
    opened = open_images(config.images, None, config.image_options, limit=limit, visible=visible)
    _refuse_other_images(root, opened)
    return Recipe(config, opened)


def _recorded(root: Path) -> TrainingConfig:
    record = root / _RECORD
    if not record.is_file():
        raise InputError(
            f"holds no {_RECORD}: how the model was trained is not known",
            where=root,
            remedy="give a model folder that dtrak-stream train wrote",
        )
    return parse(TrainingConfig, ["--config", str(record)])


def _refuse_other_images(root: Path, images: Images) -> None:
    stored = (read_fingerprint(root) or {}).get("image-identity")
    if stored is not None and stored != images.identity():
        raise FingerprintMismatchError(
            "image-identity",
            stored,
            images.identity(),
            where=images.spec,
            remedy=f"give the images that {root} was trained on",
        )
