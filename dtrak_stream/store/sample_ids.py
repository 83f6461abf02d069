"""The sample ids of a store, read from its shards when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py

from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.shard import corrupt_shard
from dtrak_stream.support.names import fixed_width_names
from dtrak_stream.support.obstacles import refuse_unavailable


@dataclass(frozen=True)
class StoreIds:
    """The ids (UTF-8) of all rows of a complete store; a slice of them is a list.

    Attributes
    ----------
    layout
        Where the shards are.
    """

    layout: StoreLayout

    def __len__(self) -> int:
        return self.layout.fingerprint.samples

    def __getitem__(self, places: slice) -> list[bytes]:
        """Return the ids of some rows.

        Raises
        ------
        CorruptFileError
            If a shard cannot be read.
        """
        rows = range(len(self))[places]
        ids: list[bytes] = []
        for shard in self.layout.shards_of(rows):
            held = self.layout.shard_rows(shard)
            first, last = max(rows.start, held.start), min(rows.stop, held.stop)
            part = slice(first - held.start, last - held.start)
            with self._opened(shard) as dataset:
                ids += fixed_width_names(dataset, part)
        return ids

    @property
    def width(self) -> int:
        """Return the length of the longest id, in bytes."""
        widest = 1
        for shard in range(self.layout.num_shards):
            with self._opened(shard) as dataset:
                widest = max(widest, dataset.dtype.itemsize)
        return widest

    @contextmanager
    def _opened(self, shard: int) -> Iterator[Any]:
        path = self.layout.shard_path(shard)
        try:
            with h5py.File(path, "r") as file:
                if file.attrs["fingerprint"] != self.layout.shard_fingerprint(shard):
                    raise corrupt_shard(path, "belongs to another run")
                yield file["sample_id"]
        except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
            refuse_unavailable(path, error)
            raise corrupt_shard(path, f"truncated or not a shard ({error})") from error
