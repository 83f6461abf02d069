"""Generated images as samples of what the model predicted on the way to them."""

from __future__ import annotations

import numpy as np
import torch
import xxhash
from torch import Tensor

from dtrak_stream.data import Images, ImageShape
from dtrak_stream.data.trajectories import TrajectoryFolder, number_of
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.progress import progress


class TrajectorySamples:
    """Each sample is the predictions of x_0 at some timesteps, stacked along the channels.

    Parameters
    ----------
    images
        The generated images, in the model's shape.
    folder
        Their paths.
    timesteps
        Timesteps whose predictions are wanted, all of them on the path.
    visible
        Whether to show a progress bar.

    Raises
    ------
    InputError
        If an image has no path.
    """

    def __init__(
        self,
        images: Images,
        folder: TrajectoryFolder,
        timesteps: tuple[int, ...],
        *,
        visible: bool = True,
    ) -> None:
        self._images = images
        self._folder = folder
        self._timesteps = timesteps
        self._visible = visible
        self._identity: str | None = None
        self._refuse_missing()

    @property
    def shape(self) -> ImageShape:
        """Return (timesteps * channels) x height x width."""
        shape = self._images.shape
        return ImageShape(len(self._timesteps) * shape.channels, shape.height, shape.width)

    def __len__(self) -> int:
        return len(self._images)

    def sample_id(self, index: int) -> str:
        """Return the name of image `index`."""
        return self._images.sample_id(index)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of images [start, stop)."""
        return self._images.sample_ids(start, stop)

    def image(self, index: int) -> Tensor:
        """Return the predictions on the way to image `index`: (timesteps * C, H, W) float32.

        Raises
        ------
        BadImageError
            If image or path cannot be read, or do not belong together.
        """
        image = self._images.image(index)
        found, predicted = self._folder.predictions(self.sample_id(index), image)
        places = [np.flatnonzero(found == timestep) for timestep in self._timesteps]
        if predicted.shape != (len(found), *image.shape) or any(len(each) != 1 for each in places):
            raise BadImageError("its trajectory has other timesteps or another shape")
        chosen = predicted[[int(place[0]) for place in places]]  # (timesteps, C, H, W)
        if not bool(chosen.isfinite().all()):
            raise BadImageError("its trajectory holds NaN or inf")
        return chosen.flatten(0, 1).to(torch.float32)

    def identity(self) -> str:
        """Return a hash of the images and of all predictions; reads all paths once."""
        if self._identity is None:
            self._identity = self._hash()
        return self._identity

    def _hash(self) -> str:
        digest = xxhash.xxh3_128(f"{self._images.identity()}|{self._timesteps}".encode())
        with progress(
            len(self), description="hashing trajectories", unit="image", visible=self._visible
        ) as bar:
            for index in range(len(self)):
                try:
                    digest.update(self.image(index).numpy().tobytes())
                except BadImageError as error:
                    digest.update(error.reason.encode())
                bar.update()
        return digest.hexdigest()

    def _refuse_missing(self) -> None:
        missing = [
            name for name in self.sample_ids(0, len(self)) if not _has_path(self._folder, name)
        ]
        if missing:
            raise InputError(
                f"no trajectory of {len(missing)} images, such as {missing[0]}",
                where=self._folder.folder,
                remedy="give images and trajectory of one generation run, or make what is missing "
                "by the command that generated the images, with --save-trajectory",
            )


def _has_path(folder: TrajectoryFolder, sample_id: str) -> bool:
    try:
        return folder.has(number_of(sample_id))
    except BadImageError:
        return False
