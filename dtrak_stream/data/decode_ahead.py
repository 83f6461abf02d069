"""Decoding images a few batches ahead, beside the model that takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import BadImageError
from dtrak_stream.support.timing import StageTimer

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class DecodedBatch:
    """The readable images of some consecutive rows, and why the others are not.

    Attributes
    ----------
    rows
        Rows of the source.
    places
        Those of them that could be read.
    sample_ids
        Their ids.
    images
        (len(places), C, H, W) float32 in [-1, 1]; None if there are none.
    reasons
        What is wrong with each of the other rows.
    """

    rows: range
    places: list[int]
    sample_ids: list[str]
    images: Tensor | None
    reasons: dict[int, str]


def decode_ahead(
    images: Samples, batches: Iterable[range], timer: StageTimer
) -> Generator[DecodedBatch, None, None]:
    """Yield batches in order while a thread decodes the next few; memory stays bounded."""
    waiting: deque[Future[DecodedBatch]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="decode")
    try:
        for rows in batches:
            waiting.append(pool.submit(_decode, images, rows, timer))
            if len(waiting) > _BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(images: Samples, rows: range, timer: StageTimer) -> DecodedBatch:
    ids = images.sample_ids(rows.start, rows.stop)
    decoded: list[Tensor] = []
    places: list[int] = []
    reasons: dict[int, str] = {}
    with timer.beside("decode"):
        for row in rows:
            try:
                decoded.append(images.image(row))
                places.append(row)
            except BadImageError as error:
                reasons[row] = error.reason
        stacked = torch.stack(decoded) if decoded else None
    return DecodedBatch(rows, places, [ids[row - rows.start] for row in places], stacked, reasons)
