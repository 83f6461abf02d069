"""The generated images that are explained: how they were made, and as they are on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dtrak_stream.data.images import open_images
from dtrak_stream.data.numbered_files import NumberedFiles
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.samples import read_batch
from dtrak_stream.errors import FingerprintMismatchError, InputError, ModelError
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.folder import METADATA, refuse_changed_images
from dtrak_stream.generation.prompts import read_prompts
from dtrak_stream.generation.samplers import ImageSampler, open_sampler
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.support.configuration import parse
from dtrak_stream.training.fingerprint import read_fingerprint

_LEVELS = 2  # that regenerating alone may be off, where a batch rounds otherwise

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class GeneratedQueries:
    """Images of a generation run, and how to make them again with another model.

    Attributes
    ----------
    folder
        What dtrak-stream generate wrote.
    config
        Its options.
    numbers
        Which of its images are queries.
    """

    folder: Path
    config: GenerationConfig
    numbers: tuple[int, ...]

    @cached_property
    def ids(self) -> list[str]:
        """Return the sample id of each query, as a source of images names it."""
        return [self._id(number) for number in self.numbers]

    def original(self, number: int) -> Pixels:
        """Return an image as it is on disk, (H, W, C) uint8."""
        with Image.open(self.folder / self._id(number)) as picture:
            pixels = np.asarray(picture, np.uint8)
        return pixels if pixels.ndim == 3 else pixels[:, :, None]

    def again(self, denoiser: Denoiser, number: int) -> Pixels:
        """Make an image with this model from its own seed, (H, W, C) uint8."""
        image: Tensor = self.sampler(denoiser).sample(range(number, number + 1))[0]  # (C, H, W)
        levels = np.rint((image.permute(1, 2, 0).numpy() + 1) * 127.5)
        return levels.astype(np.uint8)

    def sampler(self, denoiser: Denoiser) -> ImageSampler:
        """Return what makes these images with this model, of the prompts they were made of.

        Raises
        ------
        ConfigurationError
            If the model is another one.
        InputError
            If the folder does not say of what each image is.
        """
        told = self.folder / METADATA
        prompts = read_prompts((), told) if denoiser.pipeline is not None else None
        return open_sampler(denoiser, self.config, prompts)

    def loss(self, denoiser: Denoiser, number: int, options: LossOptions) -> float:
        """Return the loss of the image on disk under this model, told what it was made of."""
        images = open_images(
            str(self.folder),
            denoiser.image_shape,
            conditioned_on=denoiser.conditioned_on,
            visible=False,
        )
        place = images.sample_ids(0, len(images)).index(self._id(number))
        query, _ = read_batch(images, range(place, place + 1))
        return float(LossMeter(denoiser, options).of_batch(query)[0])

    def identity(
        self, names: Sequence[str], shape: ImageShape, options: ImageOptions
    ) -> str | None:
        """Return the hash of the images of these names; None unless they follow each other.

        See `Images.identity`, also for `shape` and `options`.
        """
        images = open_images(str(self.folder), shape, options, visible=False)
        present = images.sample_ids(0, len(images))
        start = present.index(names[0]) if names and names[0] in present else len(present)
        stop = start + len(names)
        if not names or present[start:stop] != list(names):
            return None
        part = f"{self.folder}[{start}:{stop}]"
        return open_images(part, shape, options, visible=False).identity()

    def _id(self, number: int) -> str:
        return self._files.path(number).relative_to(self.folder).as_posix()

    @cached_property
    def _files(self) -> NumberedFiles:
        return NumberedFiles(self.folder, ".png")

    def refuse_other_model(self, denoiser: Denoiser) -> None:
        """Refuse images that this model did not make.

        Raises
        ------
        FingerprintMismatchError
            If other weights made them.
        ModelError
            If the first image cannot be made again: another version computes it differently.
        """
        stored = (read_fingerprint(self.folder) or {}).get("weights")
        found = weights_hash(denoiser.network)
        if stored != found:
            raise FingerprintMismatchError(
                "weights",
                stored,
                found,
                where=self.folder,
                remedy="give the --model that made these images",
            )
        number = self.numbers[0]
        difference = self.again(denoiser, number).astype(int) - self.original(number)
        if np.abs(difference).max() > _LEVELS:
            raise ModelError(
                f"does not give image {number} again (a pixel is off by "
                f"{np.abs(difference).max()} of 255)",
                where=denoiser.folder,
                remedy="generate the images on this machine and with these versions",
            )


def read_generated(folder: Path, count: int, shape: ImageShape) -> GeneratedQueries:
    """Read how the first `count` images of a generation folder were made.

    Raises
    ------
    InputError
        If the folder is not from dtrak-stream generate, or has fewer images.
    FingerprintMismatchError
        If an image was changed since it was generated.
    """
    record = folder / "generation.yaml"
    if not record.is_file():
        raise InputError(
            "holds no generation.yaml: how its images were made is not known",
            where=folder,
            remedy="give a folder that dtrak-stream generate wrote",
        )
    config = parse(GenerationConfig, ["--config", str(record)])
    numbers = tuple(range(count))
    files = NumberedFiles(folder, ".png")
    missing = [n for n in numbers if not files.path(n).is_file()]
    if missing:
        raise InputError(
            f"holds no image {missing[0]:05d}.png",
            where=folder,
            remedy=f"generate {count} images, or give fewer --queries",
        )
    open_images(str(folder), shape, visible=False)
    refuse_changed_images(folder)
    return GeneratedQueries(folder, config, numbers)
