"""Decoding images a few batches ahead, by several threads, beside the model that takes them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

from dtrak_stream.data.samples import SampleBatch, Samples, joined, read_batch, size_of
from dtrak_stream.support.cluster_options import usable_cores
from dtrak_stream.support.timing import StageTimer

_BATCHES_AHEAD = 2
_BYTES_AHEAD = 64 * 2**20  # of batches beyond those two, so that small ones occupy all threads
_MOST_THREADS = 16

Decoded: TypeAlias = tuple[SampleBatch, dict[int, str]]
"""Those of some consecutive rows that are usable, and why each of the others is not."""


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
    samples: Samples, batches: Iterable[range], timer: StageTimer, *, threads: int | None = None
) -> Generator[DecodedBatch, None, None]:
    """Yield batches in order while threads decode the next few.

    Parameters
    ----------
    samples
        What is decoded. Its `image` is called by all threads at once.
    batches
        Consecutive rows of each batch.
    timer
        Told how long decoding takes.
    threads
        Their number; as many as there are cores to use, up to 16, unless said.

    Yields
    ------
    DecodedBatch
        Two batches are ahead of the one that was yielded; if they are small, as many as keep
        all threads occupied, within 64 MiB.
    """
    with _Decoders(samples, timer, threads or _usable_threads()) as decoders:
        for rows in batches:
            decoders.submit(rows)
            while decoders.are_far_ahead():
                yield decoders.next()
        while decoders.waiting:
            yield decoders.next()


class _Decoders(AbstractContextManager["_Decoders"]):
    """Threads that decode parts of batches, first come first served."""

    def __init__(self, samples: Samples, timer: StageTimer, threads: int) -> None:
        self.waiting: deque[tuple[range, list[Future[Decoded]]]] = deque()
        self._samples = samples
        self._timer = timer
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._sample_bytes = 4 * math.prod(size_of(samples))

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, rows: range) -> None:
        """Have a batch decoded, a part of it by each thread."""
        step = max(1, -(-len(rows) // self._threads))
        parts = [rows[start : start + step] for start in range(0, len(rows), step)]
        self.waiting.append((rows, [self._pool.submit(self._decode, part) for part in parts]))

    def are_far_ahead(self) -> bool:
        """Return whether enough is decoded or on its way."""
        if len(self.waiting) <= _BATCHES_AHEAD:
            return False
        ahead = sum(len(rows) for rows, _ in self.waiting)
        return ahead > 2 * self._threads or ahead * self._sample_bytes > _BYTES_AHEAD

    def next(self) -> DecodedBatch:
        """Return the batch that was submitted first, when all of it is there."""
        rows, parts = self.waiting.popleft()
        batches, reasons = zip(*(part.result() for part in parts), strict=True)
        why = {row: reason for each in reasons for row, reason in each.items()}
        return DecodedBatch(rows, joined(batches), why)

    def _decode(self, rows: range) -> Decoded:
        with self._timer.beside("decode", threads=self._threads):
            return read_batch(self._samples, rows)


def _usable_threads() -> int:
    """Return how many cores this process may use, up to what decoding keeps busy."""
    return min(usable_cores(), _MOST_THREADS)
