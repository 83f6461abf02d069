"""The rows of a shard that was being computed when Ctrl-C arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrak_stream.featurizing.shard_writer import ComputedRows
from dtrak_stream.store import StoreLayout
from dtrak_stream.support.checkpoints import Checkpoints

_NAME = "rows"


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
            places=np.array(list(rows.reasons), np.int64),
            reasons=np.array(list(rows.reasons.values()), np.str_),
        )

    def restore(self, rows: ComputedRows) -> None:
        """Fill in the rows that an interrupted run kept."""
        if not self._folder_exists(rows.shard):
            return
        kept = self._checkpoints(rows.shard).load(_NAME)
        if kept is None:
            return
        rows.done = len(kept["features"])
        rows.features[: rows.done] = kept["features"]
        if rows.residual is not None:
            rows.residual[: rows.done] = kept["residual"]
        rows.reasons.update(zip(kept["places"].tolist(), kept["reasons"].tolist(), strict=True))

    def _checkpoints(self, shard: int) -> Checkpoints:
        plan = {"fingerprint": self.layout.fingerprint.hash(), "execution": self.execution}
        return Checkpoints.beside(self.layout.shard_path(shard), plan)

    def _folder_exists(self, shard: int) -> bool:
        path = self.layout.shard_path(shard)
        return path.with_name(path.name + ".parts").is_dir()


def drop_what_is_finished(layout: StoreLayout) -> None:
    """Remove rows that were kept of shards that are whole by now."""
    for folder in layout.shards_folder.glob("*.h5.parts"):
        if folder.with_suffix("").exists():
            Checkpoints(folder).discard()
