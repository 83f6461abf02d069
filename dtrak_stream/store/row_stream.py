"""Blocks of rows on a device, in order: the next one is on its way while one is worked with."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_reader import RowReader
from dtrak_stream.support.buffers import empty_on
from dtrak_stream.support.cluster_options import usable_cores

CPU = torch.device("cpu")
_PIECE_BYTES = 2**19  # what is read at a time is checked, converted and scaled in the cache
_DTYPES = {"float16": torch.float16, "float32": torch.float32, "int8": torch.int8}


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of a store; good until the next block is asked for.

    Attributes
    ----------
    rows
        Which.
    features
        (n, k) float32 on a device. Row i of the store is features[i] * scale[i].
    scale
        (n,) float32 there; 0 for quarantined samples. All are 1 where features are
        multiplied with them already.
    """

    rows: range
    features: Tensor
    scale: Tensor

    def scaled(self) -> Tensor:
        """Return the features as they are meant, (n, k), in the place of `features`."""
        return self.features.mul_(self.scale[:, None])


def stream_rows(
    store: FeatureStore, cuts: Sequence[range], device: torch.device, *, scaled: bool = False
) -> Iterator[RowBlock]:
    """Yield blocks of rows; a thread reads the next one meanwhile.

    On a single core, where that thread would only take turns with this one, the system is
    told which rows come next.

    Parameters
    ----------
    store
        The store.
    cuts
        The rows of each block, in the order of the store.
    device
        Where they go. To a GPU they are copied as they are stored, out of pinned memory, and
        become float32 there.
    scaled
        Whether features come multiplied with their scales, which costs least where they become
        float32.

    Raises
    ------
    UnavailableError, CorruptFileError
        As `read_shard`. Blocks of a damaged shard may have come before: nothing made of any row of
        a shard is to be kept before all of its rows have come.
    """
    if not cuts:
        return
    stored, longest = store.stored, max(map(len, cuts))
    make = _PinnedRows if device.type == "cuda" else _Rows
    dtype = _DTYPES[stored.fingerprint.dtype]
    ahead = device.type == "cuda" or usable_cores() > 1
    slots = [
        make(longest, stored.proj_dim, dtype, device, scaled) for _ in cuts[: 2 if ahead else 1]
    ]
    with ExitStack() as stack:
        for slot in slots:
            stack.callback(slot.finish)
        reader = stack.enter_context(RowReader(stored, cuts))
        filled = stack.enter_context(closing(_filled(reader, cuts, slots)))
        for slot, rows in zip(filled, cuts, strict=True):
            features, scale = slot.convert(len(rows))
            yield RowBlock(rows, store.of_stored(features), scale)


def _filled(
    reader: RowReader, cuts: Sequence[range], slots: Sequence[_Rows]
) -> Generator[_Rows, None, None]:
    """Yield a slot with the rows of each cut: one by one, or one ahead where there are two."""
    if len(slots) == 1:
        for number, rows in enumerate(cuts):
            slots[0].fill(reader, rows)
            for following in cuts[number + 1 : number + 2]:
                reader.expect(following)
            yield slots[0]
        return

    def fill(number: int) -> _Rows:
        slot = slots[number % 2]
        slot.fill(reader, cuts[number])
        return slot

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(fill, 0)
        for number in range(1, len(cuts)):
            slot = coming.result()
            coming = pool.submit(fill, number)
            yield slot
        yield coming.result()


def load_rows(
    store: FeatureStore, rows: range, device: torch.device, rows_at_a_time: int
) -> Tensor:
    """Return the features of consecutive rows on a device: (len(rows), k) float32."""
    out = empty_on(device, (len(rows), store.proj_dim))
    for block in stream_rows(store, cut_rows(rows, rows_at_a_time), device, scaled=True):
        place = slice(block.rows.start - rows.start, block.rows.stop - rows.start)
        out[place] = block.features
    return out


def cut_rows(rows: range, step: int) -> list[range]:
    """Return consecutive rows in pieces of `step`."""
    return [
        range(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step)
    ]


def stream_bytes(store: FeatureStore, rows_at_a_time: int) -> int:
    """Return how much memory `stream_rows` takes, on a CPU."""
    width = store.stored.proj_dim
    folded = 0 if store.stored is store else 4 * store.proj_dim
    rows = min(rows_at_a_time, len(store))
    return rows * (2 * (4 * width + 4) + folded) + 2 * min(_PIECE_BYTES, 4 * width * rows)


class _Rows:
    """Rows as float32 in the memory of the host."""

    def __init__(
        self, rows: int, dim: int, dtype: torch.dtype, _: torch.device, scaled: bool
    ) -> None:
        self._scaled = scaled
        self._features = empty_on(CPU, (rows, dim))
        self._scale = empty_on(CPU, (rows,))
        step = max(1, _PIECE_BYTES // (dim * dtype.itemsize))
        self._piece = empty_on(CPU, (min(rows, step), dim), dtype)

    def fill(self, reader: RowReader, rows: range) -> None:
        """Read rows; what `convert` returned of the rows before is not touched."""
        scale, step = self._scale.numpy(), len(self._piece)
        for part in cut_rows(rows, step):
            place = slice(part.start - rows.start, part.stop - rows.start)
            piece = self._piece[: len(part)]
            reader.read(part, piece.numpy(), scale[place])
            features = self._features[place].copy_(piece)
            if self._scaled:
                features.mul_(self._scale[place, None])
                self._scale[place] = 1

    def convert(self, count: int) -> tuple[Tensor, Tensor]:
        """Return features (count, dim) float32, and their scales (count,)."""
        return self._features[:count], self._scale[:count]

    def finish(self) -> None:
        """Wait for what is on its way."""


class _PinnedRows(_Rows):
    """Rows as they are stored, on their way to a GPU, where they become float32."""

    def __init__(
        self, rows: int, dim: int, dtype: torch.dtype, device: torch.device, scaled: bool
    ) -> None:
        self._scaled = scaled
        self._stored = torch.empty(rows, dim, dtype=dtype, pin_memory=True)
        self._scale = torch.empty(rows, pin_memory=True)
        self._there = self._stored.to(device), self._scale.to(device)
        self._features = torch.empty(rows, dim, device=device)
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._used = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def fill(self, reader: RowReader, rows: range) -> None:
        """Read rows, and begin to copy them, when those before have been made use of."""
        self._used.synchronize()
        count = len(rows)
        reader.read(rows, self._stored[:count].numpy(), self._scale[:count].numpy())
        with torch.cuda.stream(self._copies):
            for there, here in zip(self._there, (self._stored, self._scale), strict=True):
                there[:count].copy_(here[:count], non_blocking=True)
        self._arrived.record(self._copies)

    def convert(self, count: int) -> tuple[Tensor, Tensor]:
        """Return features and scales there, when they have arrived."""
        working = torch.cuda.current_stream(self._features.device)
        working.wait_event(self._arrived)
        stored, scale = (there[:count] for there in self._there)
        features, scale = self._features[:count].copy_(stored), scale.clone()
        self._used.record(working)
        if self._scaled:
            features.mul_(scale[:, None])
            scale.fill_(1)
        return features, scale

    def finish(self) -> None:
        """Wait for copies: the memory they go to may be given to others after this."""
        self._copies.synchronize()
