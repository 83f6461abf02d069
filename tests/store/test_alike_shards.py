"""Shards laid out alike: found out about without HDF5, to the same result, damaged or not."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.store import alike_shards
from dtrak_stream.store.alike_shards import AlikeShards
from dtrak_stream.store.stored_shard import open_shard

FEATURES = np.random.default_rng(0).normal(size=(38, 64)).astype(np.float32)


@pytest.fixture
def store(make_store):
    """Return a store of four shards: the ids of the first are shorter, the last has fewer rows."""
    return make_store("s", FEATURES, rows_per_shard=10)


@pytest.fixture
def opened(monkeypatch):
    """Return the names of the shards that HDF5 looks at, as it does."""
    names = list[str]()

    def noted(path, fingerprint):
        names.append(path.name)
        return open_shard(path, fingerprint)

    monkeypatch.setattr(alike_shards, "open_shard", noted)
    return names


def outcome(look, path, run):
    try:
        return look(path, run)
    except DtrakStreamError as error:
        return type(error), str(error)


def test_hdf5_looks_at_one_of_the_shards_that_are_laid_out_alike(store, opened):
    found = [store.header(shard) for shard in range(4)]
    assert opened == ["00000000.h5", "00000001.h5", "00000003.h5"]
    for shard, stored in enumerate(found):
        path, run = store.layout.shard_path(shard), store.layout.shard_fingerprint(shard)
        assert stored == open_shard(path, run)
    assert np.array_equal(store.rows(range(38)), FEATURES)


def test_a_shard_of_another_run_is_looked_at_by_hdf5_and_refused(store, opened):
    alike, path = AlikeShards(), store.layout.shard_path(0)
    alike.open(path, store.layout.shard_fingerprint(0))
    assert outcome(alike.open, path, "another") == outcome(open_shard, path, "another")
    assert opened == ["00000000.h5", "00000000.h5"]


def test_a_byte_that_is_another_outside_the_arrays_changes_nothing_or_is_told_as_by_hdf5(store):
    layout = store.layout
    first, path, run = layout.shard_path(1), layout.shard_path(2), layout.shard_fingerprint(2)
    alike, content = AlikeShards(), path.read_bytes()
    pattern = alike.open(first, run)
    outside = np.ones(len(content), bool)
    for place in pattern.places.values():
        outside[place.offset :][: place.dtype.itemsize * int(np.prod(place.shape))] = False
    used = [i for i in np.flatnonzero(outside) if content[i]]
    assert len(used) > 400
    for at in used[::7]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        expected = outcome(open_shard, path, run)
        alike.open(first, run)
        assert outcome(alike.open, path, run) == expected


def test_a_shard_that_is_cut_or_gone_is_told_as_by_hdf5(store):
    path, run = store.layout.shard_path(2), store.layout.shard_fingerprint(2)
    alike, content = AlikeShards(), path.read_bytes()
    alike.open(store.layout.shard_path(1), run)
    path.write_bytes(content[:-100])
    assert outcome(alike.open, path, run) == outcome(open_shard, path, run)
    path.unlink()
    with pytest.raises(DtrakStreamError, match=r"00000002\.h5"):
        alike.open(path, run)
