"""The folder of a generation run.

OUT/fingerprint.json  model, sampler, seed and number of images; written first
OUT/generation.yaml   the resolved options, versions and git revision
OUT/images.json       number and hash of the finished images, and hash of metadata.jsonl, to tell
                      whether they were changed
OUT/00000.png ...     the images, 8 bits a channel; from 10,000 on in subfolders
OUT/metadata.jsonl    what each is of: {"file_name": ..., "label": 3, "seed": ...}, or "text"
OUT/images.npy        the same before rounding, if asked for
OUT/float_images/     its parts, until all images are made
OUT/trajectory/       the way to each image, if asked for; see dtrak_stream.data.trajectories
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import xxhash
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dtrak_stream.data.numbered_files import NumberedFiles, remove_numbered_partials
from dtrak_stream.data.trajectories import Trajectory, TrajectoryFolder
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.support.claims import alone_with
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.durable import durable_path, write_json, write_npy
from dtrak_stream.training.fingerprint import (
    FINGERPRINT_FILE,
    Fingerprint,
    read_fingerprint,
    refuse_other,
    write_fingerprint,
)

IMAGES_RECORD = "images.json"
METADATA = "metadata.jsonl"
IMAGE_MODES = {1: "L", 3: "RGB"}


class ImageFolder:
    """Reads and writes the files of one generation run.

    Parameters
    ----------
    out
        The folder.
    float_images
        Whether images are also kept as they are before rounding.
    trajectories
        Whether the way to each image is also kept.

    Raises
    ------
    InputError
        If the folder cannot be made, or holds what no command of this package began.
    """

    def __init__(self, out: Path, float_images: bool, trajectories: bool) -> None:
        self._out = out
        self._wants_floats = float_images
        self._wants_paths = trajectories
        self._paths = TrajectoryFolder(out)
        self._parts = out / "float_images"
        self._png_files = NumberedFiles(out, ".png")
        self._part_files = NumberedFiles(self._parts, ".npy")
        self._joined = out / "images.npy"
        refuse_foreign_folder(out, FINGERPRINT_FILE, flag="--out")
        remove_numbered_partials(out)
        remove_numbered_partials(self._parts)
        self._paths.remove_partials()

    def claim(self, fingerprint: Fingerprint, count: int) -> None:
        """Take the folder for the run with this fingerprint and number of images.

        Raises
        ------
        FingerprintMismatchError
            If another run began here, or begins just now, or one with more images.
        """
        with alone_with(self._out / FINGERPRINT_FILE):
            stored = read_fingerprint(self._out)
            if stored is not None:
                refuse_other({**stored, "count": 0}, {**fingerprint, "count": 0}, where=self._out)
                self._refuse_fewer(cast(int, stored["count"]), count)
            write_fingerprint(self._out, {**fingerprint, "count": count})

    def tell(self, told: Callable[[int], dict[str, Any]], count: int) -> None:
        """Write what is to be known of each image, by its number."""
        with (
            durable_path(self._out / METADATA) as partial,
            partial.open("w", encoding="utf-8") as file,
        ):
            for number in range(count):
                name = self._png(number).relative_to(self._out).as_posix()
                file.write(json.dumps({"file_name": name, **told(number)}) + "\n")

    def missing(self, numbers: range) -> list[int]:
        """Return the numbers of the images that are still to be made."""
        joined = len(self._read_joined())
        return [number for number in numbers if not self._has(number, joined)]

    def save(self, number: int, image: Tensor, path: Trajectory | None) -> None:
        """Write image (C, H, W) float32 in [-1, 1]; its PNG comes last and says it is done."""
        if path is not None:
            self._paths.save(number, path)
        pixels = image.permute(1, 2, 0).numpy()  # (H, W, C)
        if self._wants_floats:
            write_npy(self._part(number), pixels)
        rounded = np.rint((pixels + 1) * 127.5).astype(np.uint8)
        mode = IMAGE_MODES[rounded.shape[2]]
        with durable_path(self._png(number)) as partial:
            Image.fromarray(rounded.squeeze(2) if mode == "L" else rounded).save(partial, "PNG")

    def join_float_images(self, count: int) -> None:
        """Write images.npy from the images it had and those made since."""
        before = self._read_joined()
        if self._wants_floats and len(before) < count:
            self._join(before, count)
            shutil.rmtree(self._parts)

    def record_images(self, count: int) -> None:
        """Keep a hash of the finished images, for whoever uses them."""
        found = _record(self._out, self._png_files, count)
        if _recorded(self._out) != found:
            write_json(self._out / IMAGES_RECORD, found)

    def _join(self, before: NDArray[np.float32], count: int) -> None:
        shape = (count, *np.load(self._part(count - 1)).shape)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        # not through a map of the file: a full disk ends that with a signal
        with durable_path(self._joined) as partial, partial.open("wb") as file:
            npy_format.write_array_header_1_0(file, header)
            for number in range(count):
                known = number < len(before)
                image = before[number] if known else np.load(self._part(number))
                file.write(np.ascontiguousarray(image, "<f4").data)

    def _refuse_fewer(self, stored: int, requested: int) -> None:
        if requested < stored:
            raise FingerprintMismatchError(
                "count",
                stored,
                requested,
                where=self._out,
                remedy="give --out a new folder for fewer images, or a --count at least as large",
            )

    def _has(self, number: int, joined: int) -> bool:
        floats_kept = number < joined or self._part(number).is_file()
        path_kept = self._paths.has(number) or not self._wants_paths
        return self._png(number).is_file() and path_kept and (floats_kept or not self._wants_floats)

    def _read_joined(self) -> NDArray[np.float32]:
        if not self._joined.is_file():
            return np.empty((0,), np.float32)
        return cast(NDArray[np.float32], np.load(self._joined, mmap_mode="r"))

    def _png(self, number: int) -> Path:
        return self._png_files.path(number)

    def _part(self, number: int) -> Path:
        return self._part_files.path(number)


def refuse_changed_images(folder: Path) -> None:
    """Refuse images that are not those that were generated; nothing is known of unfinished ones.

    Raises
    ------
    FingerprintMismatchError
        If an image, or what is told of them, was changed since all of them were made.
    """
    stored = _recorded(folder)
    if stored is None:
        return
    found = _record(folder, NumberedFiles(folder, ".png"), stored["count"])
    if "told" in stored and stored["told"] != found.get("told"):
        raise FingerprintMismatchError(
            "told",
            stored["told"],
            found.get("told"),
            where=folder / METADATA,
            remedy="it was changed since the images were generated: give the command again that "
            "generated them, which writes it anew",
        )
    if stored["images"] != found["images"]:
        raise FingerprintMismatchError(
            "images",
            stored["images"],
            found["images"],
            where=folder,
            remedy="one was changed since it was generated: remove it and give the command that "
            "generated the images again",
        )


def _recorded(folder: Path) -> dict[str, Any] | None:
    """Return what is kept of the finished images; None if they are not finished, or older."""
    path = folder / IMAGES_RECORD
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    known = isinstance(record, dict) and isinstance(record.get("count"), int)
    return record if known and "images" in record else None


def _record(folder: Path, files: NumberedFiles, count: int) -> dict[str, Any]:
    digest = xxhash.xxh3_128()
    for number in range(count):
        path = files.path(number)
        # one that is gone is told by whoever needs it
        content = path.read_bytes() if path.is_file() else b""
        digest.update(xxhash.xxh3_128_digest(content))
    told = _told_in(folder)
    return {"count": count, "images": digest.hexdigest(), **({"told": told} if told else {})}


def _told_in(folder: Path) -> str | None:
    """Return a hash of what is told of the images; None if nothing is."""
    try:
        content = (folder / METADATA).read_bytes()
    except FileNotFoundError:
        return None
    return xxhash.xxh3_128_hexdigest(content)
