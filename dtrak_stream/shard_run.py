"""Computing the missing shards of a store, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dtrak_stream.data import Images
from dtrak_stream.errors import BadImageError, InterruptedRunError
from dtrak_stream.featurizer import Featurizer
from dtrak_stream.progress import progress, say
from dtrak_stream.store import (
    QuarantinedSample,
    ShardRows,
    StoreLayout,
    append_quarantine,
    pack_rows,
    write_shard,
)
from dtrak_stream.store.shard import FloatArray

_BATCH_BYTES = 64 * 2**20
_LARGEST_BATCH = 64
_BAD_GRADIENT = "its gradient holds NaN or inf"


@dataclass(frozen=True)
class ShardRun:
    """Computes shards.

    Attributes
    ----------
    featurizer, images, layout
        What computes, on what, into where.
    visible
        Whether to draw a progress bar.
    """

    featurizer: Featurizer
    images: Images
    layout: StoreLayout
    visible: bool

    def run(self, missing: list[int]) -> int:
        """Compute the shards in `missing`; return the number of images they hold.

        Raises
        ------
        InterruptedRunError
            On Ctrl-C, saying what is finished.
        DiskFullError
            If a shard cannot be written.
        """
        to_do = sum(len(self.layout.shard_rows(shard)) for shard in missing)
        finished = self.layout.num_shards - len(missing)
        done = len(self.images) - to_do
        with progress(
            len(self.images), description="featurizing", unit="img", done=done, visible=self.visible
        ) as bar:
            for shard in missing:
                bar.set_postfix_str(f"shards {finished}/{self.layout.num_shards}")
                try:
                    self._compute(shard, bar.update)
                except KeyboardInterrupt as interrupt:
                    raise self._interrupted(finished) from interrupt
                finished += 1
            bar.set_postfix_str(f"shards {finished}/{self.layout.num_shards}")
        return to_do

    def _interrupted(self, finished: int) -> InterruptedRunError:
        return InterruptedRunError(
            f"{finished} of {self.layout.num_shards} shards of {self.layout.root} are done and kept"
        )

    def _compute(self, shard: int, advance: Callable[[int], object]) -> None:
        rows = self.layout.shard_rows(shard)
        sample_ids = self.images.sample_ids(rows.start, rows.stop)
        features = np.full((len(rows), self.featurizer.projector.proj_dim), np.nan, np.float32)
        reasons: dict[int, str] = {}
        for start in range(0, len(rows), self._batch_size):
            batch = range(start, min(start + self._batch_size, len(rows)))
            self._fill(features, batch, rows.start, sample_ids, reasons)
            advance(len(batch))
        packed = pack_rows(features, sample_ids, self.layout.fingerprint.dtype)
        quarantined = _quarantined(packed, rows.start, sample_ids, reasons)
        if len(quarantined) == len(rows):
            say(f"every sample of shard {shard} is bad: {quarantined[0].reason}")
        # ledger before shard: a crash in between leaves entries that the next start drops
        append_quarantine(self.layout.quarantine_path, quarantined)
        write_shard(self.layout.shard_path(shard), packed, self.layout.fingerprint.hash())

    @property
    def _batch_size(self) -> int:
        shape = self.images.shape
        image_bytes = 4 * shape.channels * shape.height * shape.width
        return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // image_bytes))

    def _fill(
        self,
        features: FloatArray,
        batch: range,
        first_row: int,
        sample_ids: list[str],
        reasons: dict[int, str],
    ) -> None:
        """Compute the rows of `features` (rows, k) in `batch`; note why others stay NaN."""
        images, places = [], []
        for place in batch:
            try:
                images.append(self.images.image(first_row + place))
                places.append(place)
            except BadImageError as error:
                reasons[place] = error.reason
        if images:
            computed = self.featurizer.features(
                torch.stack(images), [sample_ids[place] for place in places]
            )
            features[places] = computed.numpy()  # (len(places), k)


def _quarantined(
    packed: ShardRows, first_row: int, sample_ids: list[str], reasons: dict[int, str]
) -> list[QuarantinedSample]:
    places = [int(place) for place in np.flatnonzero(packed.scale == 0)]
    return [
        QuarantinedSample(first_row + place, sample_ids[place], reasons.get(place, _BAD_GRADIENT))
        for place in places
    ]
