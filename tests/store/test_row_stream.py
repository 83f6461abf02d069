"""Rows streamed to a device: the rows that are stored, whatever the cut, and no damage unseen."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrak_stream.errors import CorruptFileError, UnavailableError
from dtrak_stream.scoring.halves import HalfSketch
from dtrak_stream.store import row_reader, stored_shard
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from dtrak_stream.store.row_reader import RowReader
from dtrak_stream.store.row_stream import CPU, cut_rows, load_rows, stream_rows
from tests.conftest import store_of

FEATURES = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
FEATURES *= np.logspace(-12, 12, 20, dtype=np.float32)[:, None]  # scales unlike each other


@pytest.fixture(scope="module", params=["float16", "float32", "int8"])
def store(tmp_path_factory, request):
    return store_of(tmp_path_factory.mktemp("store") / "s", FEATURES, dtype=request.param)


@pytest.fixture(autouse=True, params=[1, 2])
def cores(request, monkeypatch):
    """Let this process have as many: with one, nothing is read ahead."""
    monkeypatch.setattr("dtrak_stream.store.row_stream.usable_cores", lambda: request.param)
    return request.param


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 19), st.integers(1, 20), st.integers(1, 25))
def test_any_cut_of_any_rows_gives_what_is_stored(store, start, count, step):
    rows = range(start, min(start + count, 20))
    seen = [
        (block.rows, block.scaled().numpy().copy())
        for block in stream_rows(store, cut_rows(rows, step), CPU)
    ]
    assert [row for part, _ in seen for row in part] == list(rows)
    assert np.array_equal(np.concatenate([part for _, part in seen]), store.rows(rows))


def test_rows_that_are_left_out_are_not_read(store):
    cuts = [range(2, 5), range(9, 16)]
    blocks = [block.scaled().numpy().copy() for block in stream_rows(store, cuts, CPU)]
    expected = np.concatenate([store.rows(rows) for rows in cuts])
    assert np.array_equal(np.concatenate(blocks), expected)
    assert list(stream_rows(store, [], CPU)) == []


def test_removed_rows_are_zero(make_store, tmp_path):
    root = make_store("s", FEATURES, dtype="float16").layout.root
    (tmp_path / "rows.txt").write_text("5\n6\n7\n19\n")
    remove(RemoveConfig((root,), rows=tmp_path / "rows.txt"))
    left = load_rows(FeatureStore.open(root), range(20), CPU, 4).numpy()
    assert np.flatnonzero(~left.any(axis=1)).tolist() == [5, 6, 7, 19]


def test_halves_are_streamed_as_they_are_read(store):
    half = HalfSketch(store, "difference")
    found, expected = load_rows(half, range(20), CPU, 6).numpy(), half.rows(range(20))
    if store.fingerprint.dtype != "int8":
        assert np.array_equal(found, expected)
    largest = np.abs(expected).max(axis=1, keepdims=True)  # scales of bytes are no powers of two
    assert (np.abs(found - expected) <= 1e-6 * largest).all()


def test_the_next_block_is_read_while_one_is_worked_with_on_several_cores(
    store, monkeypatch, cores
):
    begun = {2: threading.Event()}
    read = RowReader.read

    def noted(self, rows, features, scale):
        begun.get(rows.start, threading.Event()).set()
        read(self, rows, features, scale)

    monkeypatch.setattr(RowReader, "read", noted)
    stream = stream_rows(store, cut_rows(range(6), 2), CPU)
    first = next(stream)
    assert first.rows == range(2)
    assert begun[2].wait(10 if cores > 1 else 0.1) == (cores > 1)
    assert np.array_equal(first.scaled().numpy(), store.rows(range(2)))


def test_a_single_core_has_the_next_block_fetched_meanwhile(store, monkeypatch, cores):
    fetched: list[tuple[str, int, int]] = []

    def advise(descriptor, start, size, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        fetched.append((path.name, start, size))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    stream = stream_rows(store, [range(2), range(5, 9), range(19, 20)], CPU)
    next(stream)
    if cores > 1:
        assert not fetched
        return
    width, first = 64 * np.dtype(store.fingerprint.dtype).itemsize, store.layout.shard_rows(0)
    assert [(name, start) for name, start, _ in fetched] == [
        ("00000000.h5", 5 * width),
        ("00000001.h5", 0),
    ]
    assert all(size >= (len(first) - 5) * width for _, _, size in fetched)
    assert [block.rows for block in stream] == [range(5, 9), range(19, 20)]


def test_what_cannot_be_fetched_is_told_of_when_it_is_read(make_store, cores):
    store = make_store("s", FEATURES)
    store.layout.shard_path(1).unlink()
    stream = stream_rows(store, cut_rows(range(20), 7), CPU)
    if cores == 1:
        assert next(stream).rows == range(7)
    with pytest.raises((UnavailableError, CorruptFileError), match=r"00000001\.h5"):
        list(stream)


def damaged(store):
    """Change one bit in the last row of the second shard, rows 7 to 13."""
    path = store.layout.shard_path(1)
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file["features"].id.get_offset() + file["features"].id.get_storage_size() - 1] ^= 1
    path.write_bytes(content)
    return FeatureStore.open(store.layout.root)


@pytest.mark.parametrize("rows", [range(7, 8), range(20), range(5, 20)])
@pytest.mark.parametrize("piece", [1, 2**21])
def test_no_block_comes_after_the_last_row_of_a_damaged_shard(make_store, monkeypatch, rows, piece):
    monkeypatch.setattr(row_reader, "_PIECE_BYTES", piece)
    store = damaged(make_store("s", FEATURES))
    seen: list[range] = []
    blocks = stream_rows(store, cut_rows(rows, 1), CPU)
    with pytest.raises(CorruptFileError, match=r"00000001\.h5: contents do not match"):
        seen.extend(block.rows for block in blocks)
    assert range(13, 14) not in seen
    assert seen == ([] if rows == range(7, 8) else cut_rows(range(rows.start, 13), 1))


def test_a_shard_that_ends_early_is_refused(make_store, monkeypatch):
    """As of a file that is cut short between being opened and being read."""
    store = make_store("s", FEATURES)
    path = store.layout.shard_path(2)
    offset = store.header(2).places["features"].offset
    path.write_bytes(path.read_bytes()[: offset + 300])
    with pytest.raises(CorruptFileError, match=r"00000002\.h5: truncated"):
        list(stream_rows(store, cut_rows(range(20), 4), CPU))


def test_a_shard_is_checked_once(make_store, monkeypatch):
    store, taken = make_store("s", FEATURES), []
    digest = stored_shard.ShardDigest

    def counted(stored, fingerprint):
        taken.append(stored.path.name)
        return digest(stored, fingerprint)

    monkeypatch.setattr(row_reader, "ShardDigest", counted)
    for _ in range(2):
        load_rows(store, range(20), CPU, 4)
    assert len(taken) == 3


def test_what_is_known_of_shards_stays_where_it_was_found(make_store):
    store = make_store("s", FEATURES)
    load_rows(store, range(20), CPU, 4)
    assert store.usable().all()
    sent = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 2000
    assert np.array_equal(load_rows(sent, range(20), CPU, 4).numpy(), FEATURES)


def test_blocks_are_float32_tensors(store):
    (block,) = stream_rows(store, [range(20)], CPU)
    assert (block.features.dtype, block.scale.dtype) == (torch.float32, torch.float32)
