"""Stores that one run fills side by side: one, or one for each of several features of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.store import Fingerprint, StoreLayout
from dtrak_stream.store.shard import FloatArray


@dataclass(frozen=True)
class StoreSet:
    """Stores of the same samples and the same shards; they differ in the feature only.

    Attributes
    ----------
    root
        What the user called the store.
    layouts
        One for each feature of a sample, in the order of their columns in a row.
    """

    root: Path
    layouts: tuple[StoreLayout, ...]

    @classmethod
    def of(cls, root: Path, fingerprints: tuple[Fingerprint, ...]) -> StoreSet:
        """Return the set for these fingerprints: `root` itself if there is only one."""
        return cls(root, tuple(StoreLayout(root, each) for each in fingerprints))

    @property
    def num_shards(self) -> int:
        """Return the number of shards of each store when complete."""
        return self.layouts[0].num_shards

    def shard_rows(self, shard: int) -> range:
        """Return the rows that a shard holds."""
        return self.layouts[0].shard_rows(shard)

    def missing_shards(self) -> list[int]:
        """Return the shards that some store lacks."""
        return sorted({shard for layout in self.layouts for shard in layout.missing_shards()})

    def without_shard(self, shard: int) -> list[tuple[int, StoreLayout]]:
        """Return number and layout of the stores that lack a shard."""
        return [
            (number, layout)
            for number, layout in enumerate(self.layouts)
            if not layout.shard_path(shard).exists()
        ]

    def columns(self, number: int, features: FloatArray) -> FloatArray:
        """Return the columns of rows (rows, width) that go to store `number`: (rows, k)."""
        return np.split(features, len(self.layouts), axis=1)[number]

    def run_record(self) -> dict[str, Any]:
        """Return what the first store tells of how its features are computed."""
        return self.layouts[0].run_record()

    def write_run_record(self, record: dict[str, Any]) -> None:
        """Keep that in all of them."""
        for layout in self.layouts:
            layout.write_run_record(record)
