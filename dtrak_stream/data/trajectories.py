"""Sampling paths of generated images, one file an image, and what features are made of from them.

OUT/trajectory/00000.npz  the path of image OUT/00000.png:
    timesteps  (S,) int64, in the order they were passed: T - 1 or so first
    noisy      (S, C, H, W) float32: x_t, as it went into the model at each timestep
    predicted  (S, C, H, W) float32: the x_0 that the model's answer stands for, cut to [-1, 1]
    image      hash of the image the path ends in, rounded to 8 bits a channel
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.durable import durable_path, remove_partials

FOLDER_NAME = "trajectory"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Trajectory:
    """The way of one image from noise.

    Attributes
    ----------
    timesteps
        (S,) int64.
    noisy, predicted
        (S, C, H, W) float32: x_t, and the prediction of x_0 in [-1, 1].
    image
        `image_hash` of the image.
    """

    timesteps: NDArray[np.int64]
    noisy: NDArray[np.float32]
    predicted: NDArray[np.float32]
    image: str


def image_hash(image: Tensor) -> str:
    """Return a hash of an image (C, H, W) in [-1, 1], rounded to 8 bits as PNG files are."""
    rounded = np.rint((image.numpy() + 1) * 127.5).astype(np.uint8)
    return xxhash.xxh3_64_hexdigest(f"{rounded.shape}".encode() + rounded.tobytes())


class TrajectoryFolder:
    """Reads and writes the paths of generated images.

    Parameters
    ----------
    folder
        OUT/trajectory; or OUT, the folder of a generation run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder if folder.name == FOLDER_NAME else folder / FOLDER_NAME

    def save(self, number: int, trajectory: Trajectory) -> None:
        """Write the path of image `number`, whole or not at all."""
        with durable_path(self._path(number)) as partial, partial.open("wb") as file:
            np.savez(
                file,
                timesteps=trajectory.timesteps,
                noisy=trajectory.noisy,
                predicted=trajectory.predicted,
                image=np.array(trajectory.image),
            )

    def remove_partials(self) -> None:
        """Remove what interrupted writes left behind."""
        remove_partials(self.folder)

    def has(self, number: int) -> bool:
        """Return whether the path of image `number` is there."""
        return self._path(number).is_file()

    def timesteps(self) -> tuple[int, ...]:
        """Return the timesteps of the first path that can be read.

        Raises
        ------
        InputError
            If there is none.
        """
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with path.open("rb") as file, np.load(file) as arrays:
                    return tuple(arrays["timesteps"].tolist())
            except _UNREADABLE:
                continue
        raise InputError(
            "holds no trajectory",
            where=self.folder,
            remedy="make one by giving the command that generated the images again, with "
            "--save-trajectory (python tools/generate.py --model MODEL --out DIR "
            "--save-trajectory)",
        )

    def predictions(self, sample_id: str, image: Tensor) -> tuple[NDArray[np.int64], Tensor]:
        """Return timesteps (S,) and predictions (S, C, H, W) of the path that ends in an image.

        Raises
        ------
        BadImageError
            If the path is missing, damaged, or ends in another image.
        """
        try:
            # numpy leaves a damaged file open if it opened it itself
            path = self._path(number_of(sample_id))
            with path.open("rb") as file, np.load(file) as arrays:
                timesteps, predicted = arrays["timesteps"], arrays["predicted"]
                stored = str(arrays["image"])
        except _UNREADABLE as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise BadImageError(f"its trajectory {reason}") from error
        if stored != image_hash(image):
            raise BadImageError("its trajectory ends in another image")
        return timesteps, torch.from_numpy(predicted)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"


def number_of(sample_id: str) -> int:
    """Return the number of a generated image: of `00012.png`, or of row 12 of an array.

    Raises
    ------
    BadImageError
        If the name is no number.
    """
    stem = Path(sample_id).stem
    if not stem.isdecimal():
        raise BadImageError(f"{sample_id} is not the name of a generated image")
    return int(stem)
