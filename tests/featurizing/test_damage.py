"""Damaged shards are refused, and computed again on request."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dtrak_stream.errors import (
    CorruptFileError,
)
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.reader import FeatureStore
from tests.crashing import finishes_before_step
from tests.small_jobs import (
    small_job,
    stored,
    written_at,
)


def truncate(shard):
    shard.write_bytes(shard.read_bytes()[:-100])


def empty(shard):
    shard.write_bytes(b"")


def flip_a_byte(shard):
    content = bytearray(shard.read_bytes())
    content[content.index(FeatureStore.open(shard.parents[1]).shard(1).features.tobytes())] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_byte])
def test_a_damaged_shard_is_refused_and_redone_on_request(
    model_folder, spoilt, whole, begun, damage
):
    damage(begun / "shards" / "00000001.h5")
    before = written_at(begun)
    with pytest.raises(CorruptFileError, match=r"00000001\.h5: .*--redo-corrupt"):
        featurize(small_job(model_folder, spoilt, begun))
    assert written_at(begun) == before
    result = featurize(small_job(model_folder, spoilt, begun, redo_corrupt=True))
    assert result.computed == 3
    assert stored(begun) == stored(whole)
    after = written_at(begun)
    for shard in ("shards/00000000.h5", "shards/00000002.h5"):
        assert after[shard] == before[shard]


def test_a_kill_while_a_damaged_shard_is_redone_leaves_a_store_that_goes_on(
    model_folder, spoilt, whole, begun, tmp_path
):
    damaged = Path(shutil.copytree(begun, tmp_path / "damaged"))
    truncate(damaged / "shards" / "00000001.h5")
    step, finished = 0, False
    # a kill at each step of a run is tested with stores that are whole; here at every third
    while not finished:
        store = Path(shutil.copytree(damaged, tmp_path / str(step)))
        redo = small_job(model_folder, spoilt, store, redo_corrupt=True)
        finished = finishes_before_step(lambda c=redo: featurize(c), step)  # type: ignore[misc]
        featurize(small_job(model_folder, spoilt, store))
        assert stored(store) == stored(whole)
        step += 3
    assert step > 9
