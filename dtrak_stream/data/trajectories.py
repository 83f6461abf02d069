"""Sampling paths of generated images, one file an image, and what features are made of from them.

OUT/trajectory/00000.npz  the path of image OUT/00000.png (from 10,000 on in subfolders):
    timesteps  (S,) int64, in the order they were passed: T - 1 or so first
    noisy      (S, C, H, W) float32: x_t, as it went into the model at each timestep
    predicted  (S, C, H, W) float32: the x_0 that the model's answer stands for, cut to [-1, 1]
    image      hash of the image the path ends in, rounded to 8 bits a channel
"""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.data.numbered_files import NumberedFiles, remove_numbered_partials
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition, Samples
from dtrak_stream.data.source import open_regular, refuse_out_of_reach
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.durable import durable_path
from dtrak_stream.support.progress import progress

FOLDER_NAME = "trajectory"
_DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile)

# NumPy evaluates the header of an array by `ast`, whose recursion counter threads share up to
# Python 3.11.7 and 3.12.1 (cpython issue 106905): two at once end in a SystemError
_PARSING_HEADERS = threading.Lock()


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
        self._files = NumberedFiles(self.folder, ".npz")

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
        remove_numbered_partials(self.folder)

    def has(self, number: int) -> bool:
        """Return whether the path of image `number` is there."""
        return self._path(number).is_file()

    def timesteps(self) -> tuple[int, ...]:
        """Return the timesteps of the first path that can be read.

        Raises
        ------
        InputError
            If there is none.
        UnavailableError
            If a disk or server does not answer.
        """
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with open_regular(path) as file, np.load(file) as arrays:
                    return tuple(arrays["timesteps"].tolist())
            except OSError as error:
                refuse_out_of_reach(path, error)
            except _DAMAGED:
                continue
        raise InputError(
            "holds no trajectory",
            where=self.folder,
            remedy="make one by giving the command that generated the images again, with "
            "--save-trajectory (dtrak-stream generate --model MODEL --out DIR "
            "--save-trajectory)",
        )

    def predictions(self, sample_id: str, image: Tensor) -> tuple[NDArray[np.int64], Tensor]:
        """Return timesteps (S,) and predictions (S, C, H, W) of the path that ends in an image.

        Raises
        ------
        BadImageError
            If the path is missing, damaged, or ends in another image.
        UnavailableError
            If a disk or server does not answer.
        """
        path = self._path(number_of(sample_id))
        try:
            with open_regular(path) as file:
                content = io.BytesIO(file.read())
        except OSError as error:
            refuse_out_of_reach(path, error)
            reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise BadImageError(f"its trajectory {reason}") from error
        try:
            with _PARSING_HEADERS, np.load(content) as arrays:
                timesteps, predicted = arrays["timesteps"], arrays["predicted"]
                stored = str(arrays["image"])
        except _DAMAGED as error:
            raise BadImageError("its trajectory cannot be read") from error
        if stored != image_hash(image):
            raise BadImageError("its trajectory ends in another image")
        return timesteps, torch.from_numpy(predicted)

    def _path(self, number: int) -> Path:
        return self._files.path(number)


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


class TrajectorySamples:
    """Each sample is the predictions of x_0 at some timesteps of the path to an image.

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
        images: Samples,
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
        """Return the shape of a prediction, which is that of the image."""
        return self._images.shape

    @property
    def path(self) -> tuple[int, ...]:
        """Return the timesteps of the predictions that make a sample."""
        return self._timesteps

    def __len__(self) -> int:
        return len(self._images)

    def sample_id(self, index: int) -> str:
        """Return the name of image `index`."""
        return self._images.sample_id(index)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of images [start, stop)."""
        return self._images.sample_ids(start, stop)

    def conditions(self, start: int, stop: int) -> Sequence[Condition] | None:
        """Return what images [start, stop) are of."""
        return self._images.conditions(start, stop)

    def image(self, index: int) -> Tensor:
        """Return the predictions on the way to image `index`: (timesteps, C, H, W) float32.

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
        return chosen.to(torch.float32)

    def image_and_origin(self, index: int) -> tuple[Tensor, None]:
        """Return the predictions of x_0, which are of the model's size; raises as `image`."""
        return self.image(index), None

    def remarks(self) -> list[str]:
        """Return what is to be said of the images."""
        return self._images.remarks()

    def images_identity(self) -> str:
        """Return a hash of the images that the paths lead to, and of nothing else."""
        return self._images.images_identity()

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
