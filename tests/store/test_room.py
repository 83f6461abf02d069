"""The room that a store takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from dtrak_stream.store.room import bytes_on_disk, bytes_while_written, row_bytes, shard_rows
from dtrak_stream.store.shard import PAGE, pack_rows, write_shard


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize(("rows", "per_shard"), [(12, 5), (3, 5), (10, 5)])
def test_shards_take_at_most_what_is_foreseen(make_store, dtype, rows, per_shard):
    features = np.random.default_rng(0).normal(size=(rows, 2048)).astype(np.float32)
    store = make_store("store", features, dtype=dtype, rows_per_shard=per_shard)
    shards = list(store.layout.shards_folder.iterdir())
    taken = sum(path.stat().st_size for path in shards)
    assert taken <= bytes_on_disk(store.fingerprint, len(shards)) <= taken + 4 * PAGE * len(shards)
    assert shard_rows(store.fingerprint) == min(rows, per_shard)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_packing_and_writing_a_shard_take_at_most_what_is_foreseen(make_store, tmp_path, dtype):
    features = np.random.default_rng(0).normal(size=(64, 4096)).astype(np.float32)
    store = make_store("store", features, dtype=dtype, rows_per_shard=64)
    assert row_bytes(store.fingerprint) == 4096 * np.dtype(dtype).itemsize
    ids = [str(row) for row in range(64)]
    tracemalloc.start()
    try:
        packed = pack_rows(features, ids, dtype)
        write_shard(tmp_path / "shard.h5", packed, "fingerprint")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak + features.nbytes <= 1.05 * bytes_while_written(store.fingerprint)
