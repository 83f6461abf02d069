"""Shards that are written beside the computation: one after the other, and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dtrak_stream.errors import DiskFullError
from dtrak_stream.featurizing.background_writes import BackgroundWrites
from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.support.timing import StageTimer


class Written:
    """Stands in for the writer of a store: remembers what it was given."""

    def __init__(self) -> None:
        self.shards: list[int] = []
        self.full = False

    def write(self, rows: ComputedRows) -> None:
        if self.full:
            raise DiskFullError("no room", where="s", remedy="make some")
        self.shards.append(rows.shard)


def shard(number: int) -> ComputedRows:
    return ComputedRows(number, np.zeros((1, 2), np.float32), ["a"])


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def writes(written: Any):
    with BackgroundWrites(written, StageTimer()) as writes:
        yield writes


def test_shards_are_counted_as_they_come_to_be_on_disk(written, writes):
    assert writes.finished == 0
    for number in (4, 5, 6):
        writes.submit(shard(number))
    assert writes.finished == 2  # the third may still be on its way
    writes.wait()
    assert (writes.finished, written.shards) == (3, [4, 5, 6])
    writes.wait()  # there is nothing left to wait for
    assert writes.finished == 3


def test_a_shard_that_could_not_be_written_is_told_at_the_next_and_not_counted(written, writes):
    writes.submit(shard(0))
    writes.wait()
    written.full = True
    writes.submit(shard(1))
    with pytest.raises(DiskFullError, match="no room"):
        writes.submit(shard(2))
    assert (writes.finished, written.shards) == (1, [0])
