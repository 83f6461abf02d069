"""The rows of a shard before it is whole: as they are filled in, and kept when Ctrl-C arrives."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.checkpoints import Checkpoints

_NAME = "rows"


@dataclass
class ComputedRows:
    """Rows of one shard as they are filled in.

    Attributes
    ----------
    shard
        Its number.
    features
        (rows, width) float32, the features of all stores side by side; NaN until computed, and
        for samples without one.
    sample_ids
        Ids of all rows.
    residual
        (rows,) float32, for stores that keep residuals.
    reasons
        Why an image could not be read, by its place in the shard.
    done
        Rows that are settled.
    """

    shard: int
    features: FloatArray
    sample_ids: list[str]
    residual: FloatArray | None = None
    reasons: dict[int, str] = field(default_factory=dict)
    done: int = 0

    @property
    def is_whole(self) -> bool:
        """Return whether all rows are settled."""
        return self.done == len(self.sample_ids)


@dataclass(frozen=True)
class UnfinishedShards:
    """Keeps computed rows beside the shard they belong to, for a run that goes on alike.

    Attributes
    ----------
    layout
        The store.
    execution
        What the last bits of a feature depend on: rows computed otherwise are not used.
    """

    layout: StoreLayout
    execution: dict[str, Any]

    def keep(self, rows: ComputedRows) -> None:
        """Keep the rows that are done."""
        residual = {} if rows.residual is None else {"residual": rows.residual[: rows.done]}
        self._checkpoints(rows.shard).save(
            _NAME,
            **residual,
            features=rows.features[: rows.done],
            reasons=np.frombuffer(json.dumps(list(rows.reasons.items())).encode(), np.uint8),
        )

    def restore(self, rows: ComputedRows) -> None:
        """Fill in the rows that an interrupted run kept."""
        if not self.has_rows(rows.shard):
            return
        kept = self._checkpoints(rows.shard).load(_NAME)
        if kept is None:
            return
        rows.done = len(kept["features"])
        rows.features[: rows.done] = kept["features"]
        if rows.residual is not None:
            rows.residual[: rows.done] = kept["residual"]
        rows.reasons.update(json.loads(kept["reasons"].tobytes()))

    def _checkpoints(self, shard: int) -> Checkpoints:
        plan = {"fingerprint": self.layout.fingerprint.hash(), "execution": self.execution}
        return Checkpoints.beside(self.layout.shard_path(shard), plan)

    def has_rows(self, shard: int) -> bool:
        """Return whether something is kept of a shard."""
        path = self.layout.shard_path(shard)
        return path.with_name(path.name + ".parts").is_dir()


def drop_what_is_finished(layout: StoreLayout) -> None:
    """Remove rows that were kept of shards that are whole by now."""
    for folder in layout.shards_folder.glob("*.h5.parts"):
        if folder.with_suffix("").exists():
            Checkpoints(folder).discard()
