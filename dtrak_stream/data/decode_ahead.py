"""Decoding images a few batches ahead, beside the model that takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from dtrak_stream.data.samples import SampleBatch, Samples, read_batch
from dtrak_stream.support.timing import StageTimer

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class DecodedBatch:
    """The readable samples of some consecutive rows, and why the others are not.

    Attributes
    ----------
    rows
        Rows of the source.
    samples
        Those of them that could be read.
    reasons
        What is wrong with each of the other rows.
    """

    rows: range
    samples: SampleBatch
    reasons: dict[int, str]

    @property
    def places(self) -> list[int]:
        """Return the rows of the samples that could be read."""
        return [row for row in self.rows if row not in self.reasons]


def decode_ahead(
    samples: Samples, batches: Iterable[range], timer: StageTimer
) -> Generator[DecodedBatch, None, None]:
    """Yield batches in order while a thread decodes the next few; memory stays bounded."""
    waiting: deque[Future[DecodedBatch]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="decode")
    try:
        for rows in batches:
            waiting.append(pool.submit(_decode, samples, rows, timer))
            if len(waiting) > _BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(samples: Samples, rows: range, timer: StageTimer) -> DecodedBatch:
    with timer.beside("decode"):
        return DecodedBatch(rows, *read_batch(samples, rows))
