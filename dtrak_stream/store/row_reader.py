"""Rows of a store as they are stored, read in order; checksums are taken on the way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.store.shard import FloatArray, corrupt_shard
from dtrak_stream.store.stored_shard import ShardDigest, StoredShard, read_fully, telling_damage

if TYPE_CHECKING:
    from dtrak_stream.store.reader import FeatureStore

_PIECE_BYTES = 2**19  # what is hashed at a time should still be in the cache
_HEAD_BYTES = 2**16
_AT_ONCE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # whatever lies there, opening does not wait


@dataclass
class _OpenShard:
    """The shard that is being read."""

    number: int
    held: range
    stored: StoredShard
    descriptor: int
    scale: FloatArray
    digest: ShardDigest | None
    """None where the checksum is known to hold."""


class RowReader(AbstractContextManager["RowReader"]):
    """Reads rows of a store in order into arrays that are given; use it in a `with` statement.

    A shard all of whose rows are read here is checked when its last row is; of any other, the
    checksum is taken before its first row is.

    Parameters
    ----------
    store
        The store.
    wanted
        All rows that will be read, in order.
    """

    def __init__(self, store: FeatureStore, wanted: Sequence[range]) -> None:
        self._store = store
        self._runs = list(_joined(wanted))
        self._open: _OpenShard | None = None

    def __exit__(self, *raised: object) -> None:
        self._close()

    def read(self, rows: range, features: NDArray[Any], scale: FloatArray) -> None:
        """Fill in consecutive rows.

        Parameters
        ----------
        rows
            Which, n of them.
        features
            (n, k) of the type that rows are stored in. Row i stands for features[i] * scale[i].
        scale
            (n,) float32.

        Raises
        ------
        UnavailableError, CorruptFileError
            As `read_shard`. What was filled in before is not to be used then.
        """
        for number in self._store.layout.shards_of(rows):
            shard = self._shard(number, features.dtype)
            part = range(max(rows.start, shard.held.start), min(rows.stop, shard.held.stop))
            place = slice(part.start - rows.start, part.stop - rows.start)
            first = part.start - shard.held.start
            scale[place] = shard.scale[first : first + len(part)]
            with telling_damage(shard.stored.path):
                _read(shard, first, features[place])
            if shard.digest is not None and part.stop == shard.held.stop:
                self._require(shard)

    def expect(self, rows: range) -> None:
        """Let the system begin to fetch rows that are read next, where it takes such hints.

        For who reads and computes in turn: a disk is not to wait while there is computing.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        width = self._store.proj_dim * np.dtype(self._store.fingerprint.dtype).itemsize
        for number in self._store.layout.shards_of(rows):
            held = self._store.layout.shard_rows(number)
            part = range(max(rows.start, held.start), min(rows.stop, held.stop))
            start, size = (part.start - held.start) * width, len(part) * width
            with contextlib.suppress(OSError):  # what is wrong with it, reading tells
                descriptor = os.open(self._store.layout.shard_path(number), _AT_ONCE)
                try:
                    # what lies before the rows is not known before it is read
                    os.posix_fadvise(descriptor, start, size + _HEAD_BYTES, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(descriptor)

    def _shard(self, number: int, dtype: np.dtype[Any]) -> _OpenShard:
        if self._open is None or self._open.number != number:
            self._close()
            self._open = self._opened(number, dtype)
        return self._open

    def _opened(self, number: int, dtype: np.dtype[Any]) -> _OpenShard:
        store, held = self._store, self._store.layout.shard_rows(number)
        in_one_go = any(run.start <= held.start and held.stop <= run.stop for run in self._runs)
        if not in_one_go:
            store.stored_shard(number)  # checked as a whole
        stored = store.header(number)
        place, wanted = stored.places["features"], (len(held), store.proj_dim)
        if place.shape != wanted or place.dtype != dtype:
            raise corrupt_shard(stored.path, f"holds {place.dtype} {place.shape}, not {wanted}")
        digest = (
            None
            if store.is_checked(number)
            else ShardDigest(stored, store.layout.shard_fingerprint(number))
        )
        with telling_damage(stored.path):
            descriptor = os.open(stored.path, os.O_RDONLY)
            try:
                scale = stored.arrays_of(descriptor, "scale")["scale"]
            except BaseException:
                os.close(descriptor)
                raise
        scale[store.layout.removed.within(held) - held.start] = 0
        return _OpenShard(number, held, stored, descriptor, scale, digest)

    def _require(self, shard: _OpenShard) -> None:
        assert shard.digest is not None
        with telling_damage(shard.stored.path):
            shard.digest.require(shard.descriptor)
        self._store.note_checked(shard.number)
        shard.digest = None

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open.descriptor)
            self._open = None


def _read(shard: _OpenShard, first: int, features: NDArray[Any]) -> None:
    """Read rows of a shard from the first one on, a piece at a time."""
    width = features.shape[1] * features.dtype.itemsize
    step = max(1, _PIECE_BYTES // width)
    offset = shard.stored.places["features"].offset + first * width
    for start in range(0, len(features), step):
        piece = features[start : start + step].data.cast("B")
        read_fully(shard.descriptor, piece, offset + start * width)
        if shard.digest is not None:
            shard.digest.add(piece)


def _joined(wanted: Sequence[range]) -> Iterator[range]:
    """Yield the runs of consecutive rows."""
    run: range | None = None
    for rows in wanted:
        if run is not None and run.stop == rows.start:
            run = range(run.start, rows.stop)
            continue
        if run is not None:
            yield run
        run = rows
    if run is not None:
        yield run
