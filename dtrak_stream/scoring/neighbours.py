"""Residuals of images beside those of the images nearest to them.

How hard an image is for its own sake is mostly what its neighbours are, too: a residual over the
geometric mean of those of its K nearest images tells better than the residual itself whether the
model saw it. The nearest are taken among candidates and held-out images together, the image itself
left out: an unseen candidate and a held-out image are treated alike then, which the probability
rests on.

Distances are those of rows in some space (pixels, or a projection of them). Of an image x, the
nearest are those with the largest x y - |y|^2 / 2, in float32. Products are cut on one grid,
whatever the memory: the result does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.errors import InputError, MemoryLimitError
from dtrak_stream.scoring.running_top import RunningTop
from dtrak_stream.seen.detection import Residuals
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import CPU, cut_rows, stream_bytes, stream_rows
from dtrak_stream.support.buffers import empty_on
from dtrak_stream.support.matrix_products import multiply_by_rows
from dtrak_stream.support.memory import format_enough, format_size

ROWS_OF_TILE, COLUMNS_OF_TILE = 512, 4096
"""Products are computed so many at a time, counted from the first image of each set."""
_TILES_OF_BLOCK = 32
_COPIES_OF_TILE = 4  # the products, and what looks for the largest of them
_BYTES_OF_LISTED = 16  # product, number, error


class Places(Protocol):
    """Where the images of one set lie."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """Return k, the numbers of a place."""

    def stream(self, cuts: Sequence[range], device: torch.device) -> Iterator[tuple[range, Tensor]]:
        """Yield (rows, (n, k) float32 on a device) of each cut; good until the next."""

    def stream_bytes(self, rows_at_a_time: int) -> int:
        """Return how much memory `stream` takes."""


@dataclass(frozen=True)
class StoredPlaces:
    """Rows of a store."""

    store: FeatureStore

    def __len__(self) -> int:
        return len(self.store)

    @property
    def width(self) -> int:
        """Return k; see `Places`."""
        return self.store.proj_dim

    def stream(self, cuts: Sequence[range], device: torch.device) -> Iterator[tuple[range, Tensor]]:
        """Yield rows; raises as `stream_rows`."""
        for block in stream_rows(self.store, cuts, device, scaled=True):
            yield block.rows, block.features

    def stream_bytes(self, rows_at_a_time: int) -> int:
        """Return how much memory `stream` takes."""
        return stream_bytes(self.store, rows_at_a_time)


@dataclass(frozen=True)
class HeldPlaces:
    """Rows of an array (n, k) float32."""

    rows: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Return k; see `Places`."""
        return int(self.rows.shape[1])

    def stream(self, cuts: Sequence[range], device: torch.device) -> Iterator[tuple[range, Tensor]]:
        """Yield rows."""
        for rows in cuts:
            yield rows, torch.from_numpy(self.rows[rows.start : rows.stop]).to(device)

    def stream_bytes(self, rows_at_a_time: int) -> int:
        """Return how much memory a copy on a device takes."""
        return 4 * self.width * min(rows_at_a_time, len(self))


@dataclass(frozen=True)
class Block:
    """Rows of one set, whose relative residuals are computed together.

    Attributes
    ----------
    of
        Number of the set.
    rows
        Its rows.
    first
        Number of the first of them among the images of all sets.
    """

    of: int
    rows: range
    first: int

    @property
    def images(self) -> slice:
        """Return where they are among the images of all sets."""
        return slice(self.first, self.first + len(self.rows))


@dataclass(frozen=True)
class Neighbourhood:
    """Images that are neighbours of each other.

    Attributes
    ----------
    places
        Where they lie, set by set; all of one width.
    logarithms
        (n,) logarithms of the residuals of all of them, in this order; NaN for those that are left
        out: they are no neighbours, and have no relative residual.
    count
        K, how many neighbours an image has.
    """

    places: tuple[Places, ...]
    logarithms: Residuals
    count: int

    def __post_init__(self) -> None:
        known = int(np.isfinite(self.logarithms).sum())
        if self.count >= known:
            raise InputError(
                f"there are {known:,} images with a residual, and none has so many neighbours",
                where=f"--neighbours {self.count}",
                remedy="give less, such as 20",
            )

    def blocks(self, rows: int) -> list[Block]:
        """Return blocks of so many rows, a multiple of those of a tile, and ends of sets."""
        starts = np.cumsum([0, *map(len, self.places)])
        return [
            Block(number, part, int(starts[number]) + part.start)
            for number, places in enumerate(self.places)
            for part in cut_rows(range(len(places)), rows)
        ]

    @property
    def tiles_of_columns(self) -> int:
        """Return in how many pieces all images pass by each block."""
        return len(self.blocks(COLUMNS_OF_TILE))

    def relative(
        self, block: Block, device: torch.device, passed: Callable[[], object] = lambda: None
    ) -> Residuals:
        """Return the relative residuals of a block: (n,), NaN where there is none.

        Parameters
        ----------
        block
            Which images.
        device
            Where products are computed.
        passed
            Called when a piece of all images has passed by.
        """
        nearest = self._nearest(block, device, passed)
        ours = self.logarithms[block.images]
        relative: Residuals = np.exp(ours - self.logarithms[nearest].mean(axis=1))
        return relative

    def _nearest(
        self, block: Block, device: torch.device, passed: Callable[[], object]
    ) -> NDArray[np.int64]:
        """Return the numbers of the K nearest of each image of a block, (n, K)."""
        ours = self._load(block, device)
        tiles = cut_rows(range(len(block.rows)), ROWS_OF_TILE)
        tops = [RunningTop(len(tile), self.count) for tile in tiles]
        room = empty_on(device, (ROWS_OF_TILE * COLUMNS_OF_TILE,))
        for first, theirs in self._all(device):
            half_norms = theirs.square().sum(dim=1) / 2  # (n',)
            for tile, top in zip(tiles, tops, strict=True):
                out = room[: len(tile) * len(theirs)].view(len(tile), len(theirs))
                multiply_by_rows(ours[tile.start : tile.stop], theirs, out).sub_(half_norms)
                nearness = out.cpu().numpy()
                self._leave_out(nearness, block.first + tile.start, first)
                top.update(nearness, np.arange(first, first + len(theirs)))
            passed()
        return np.concatenate([top.index for top in tops])

    def _load(self, block: Block, device: torch.device) -> Tensor:
        """Return the places of a block, (n, k)."""
        places = self.places[block.of]
        ours = empty_on(device, (len(block.rows), places.width))
        for rows, part in places.stream(cut_rows(block.rows, ROWS_OF_TILE), device):
            ours[rows.start - block.rows.start : rows.stop - block.rows.start] = part
        return ours

    def _all(self, device: torch.device) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of the first image, and the places, of each piece of all images."""
        first = 0
        for places in self.places:
            cuts = cut_rows(range(len(places)), COLUMNS_OF_TILE)
            for rows, theirs in places.stream(cuts, device):
                yield first + rows.start, theirs
            first += len(places)

    def _leave_out(self, nearness: NDArray[np.float32], row: int, column: int) -> None:
        """Let no image be near to itself, and none be near that is left out; in place."""
        count, width = nearness.shape
        nearness[:, ~np.isfinite(self.logarithms[column : column + width])] = -np.inf
        same = np.arange(max(row, column), min(row + count, column + width))
        nearness[same - row, same - column] = -np.inf


def rows_of_block(places: Sequence[Places], count: int, *, memory_limit: int) -> int:
    """Return how many rows a block has at most, to stay under a limit.

    Parameters
    ----------
    places
        As those of a `Neighbourhood`.
    count
        K.
    memory_limit
        Bytes for arrays.

    Raises
    ------
    MemoryLimitError
        If not even one tile fits.
    """
    longest = max(map(len, places))
    tiles = min(_TILES_OF_BLOCK, -(-longest // ROWS_OF_TILE))
    while block_bytes(places, count, tiles * ROWS_OF_TILE) > memory_limit:
        if tiles == 1:
            needed = format_enough(block_bytes(places, count, ROWS_OF_TILE))
            raise MemoryLimitError(
                f"finding {count:,} neighbours takes {needed}",
                where=f"--memory-limit {format_size(memory_limit)}",
                remedy=f"allow at least {needed}",
            )
        tiles = -(-tiles // 2)
    return tiles * ROWS_OF_TILE


def block_bytes(places: Sequence[Places], count: int, rows: int) -> int:
    """Return how much memory the relative residuals of a block of so many rows take."""
    width, images = max(each.width for each in places), sum(map(len, places))
    rows = min(rows, max(map(len, places)))
    streamed = max(each.stream_bytes(COLUMNS_OF_TILE) for each in places)
    tile = 4 * ROWS_OF_TILE * COLUMNS_OF_TILE * _COPIES_OF_TILE
    squares = 4 * COLUMNS_OF_TILE * width
    return rows * (4 * width + _BYTES_OF_LISTED * count) + streamed + squares + tile + 24 * images


def relative_at_once(
    places: Sequence[NDArray[np.float32]], residuals: Residuals, count: int
) -> Residuals:
    """Return the relative residuals of images that are all in memory.

    Parameters
    ----------
    places
        (n, k) of each set.
    residuals
        (n,) of all sets, in order; positive, or NaN.
    count
        K.

    Raises
    ------
    InputError
        If K is not less than the number of images with a residual.
    """
    held = tuple(HeldPlaces(np.ascontiguousarray(each, np.float32)) for each in places)
    images = Neighbourhood(held, np.log(residuals), count)
    blocks = images.blocks(_TILES_OF_BLOCK * ROWS_OF_TILE)
    return np.concatenate([images.relative(block, CPU) for block in blocks])
