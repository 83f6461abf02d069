"""The sample ids of a store, read from its shards when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.stored_shard import StoredShard, telling_damage


@dataclass(frozen=True)
class StoreIds:
    """The ids (UTF-8) of all rows of a complete store; a slice of them is a list.

    Attributes
    ----------
    layout
        Where the shards are.
    header
        Returns what is known of one.
    """

    layout: StoreLayout
    header: Callable[[int], StoredShard]

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
            stored = self.header(shard)
            with telling_damage(stored.path):
                ids += stored.part("sample_id", part).tolist()
        return ids

    @property
    def width(self) -> int:
        """Return the length of the longest id, in bytes."""
        shards = map(self.header, range(self.layout.num_shards))
        return max(shard.places["sample_id"].dtype.itemsize for shard in shards)
