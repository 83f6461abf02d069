"""Many small random images, as a folder of files and as an array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dtrak_stream.support.progress import progress

_SIDE = 8
_BLOCK = 4096


def save_array(path: Path, count: int) -> Path:
    """Write `count` images to a .npy file, (count, 8, 8) uint8, unless it is there."""
    if not path.is_file():
        array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, _SIDE, _SIDE))
        for rows, block in _blocks(count):
            array[rows.start : rows.stop] = block
        array.flush()
    return path


def save_folder(folder: Path, count: int, *, visible: bool) -> Path:
    """Write the same images as PNG files, unless the folder is there."""
    if not folder.is_dir():
        folder.mkdir()
        with progress(count, description="making images", unit="file", visible=visible) as bar:
            for rows, block in _blocks(count):
                for row, pixels in zip(rows, block, strict=True):
                    Image.fromarray(pixels).save(folder / f"{row:06d}.png")
                    bar.update()
    return folder


def _blocks(count: int) -> Iterator[tuple[range, NDArray[np.uint8]]]:
    random = np.random.default_rng(0)
    for start in range(0, count, _BLOCK):
        rows = range(start, min(start + _BLOCK, count))
        yield rows, random.integers(0, 256, (len(rows), _SIDE, _SIDE), dtype=np.uint8)
