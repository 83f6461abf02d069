"""A store as a whole: reading it in blocks, its joined view, its fingerprint and ledger."""

from __future__ import annotations

import dataclasses
import json

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import CorruptFileError, FingerprintMismatchError, InputError
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.quarantine import (
    QuarantinedSample,
    append_quarantine,
    keep_quarantine,
    read_quarantine,
)
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import write_shard
from dtrak_stream.store.stored_shard import read_fully, read_shard
from tests.conftest import store_of
from tests.scoring.conftest import with_residuals

HASH = "a38dea5745ff7b51a12cff3cb8bb7c90"
FEATURES = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("store") / "s", FEATURES)


def test_blocks_are_the_rows_in_order(store):
    seen = []
    for shard in range(store.layout.num_shards):
        for rows, features in store.blocks(shard):
            assert np.array_equal(features, FEATURES[rows.start : rows.stop])
            seen += rows
    assert seen == list(range(20))


@given(st.integers(0, 20), st.integers(0, 20))
def test_any_range_of_rows_can_be_read(store, first, second):
    start, stop = sorted([first, second])
    if start < stop:
        assert np.array_equal(store.rows(range(start, stop)), FEATURES[start:stop])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_picked_rows_come_together_over_shards_and_nothing_beside_them_is_read(
    tmp_path, monkeypatch, dtype
):
    features = FEATURES.copy()
    features[7] = np.nan
    store, rows = store_of(tmp_path / "s", features, dtype=dtype), np.array([0, 1, 6, 7, 13, 19])
    wanted, read = store.rows(range(20))[rows], list[int]()

    def counted(descriptor: int, into: memoryview, offset: int) -> None:
        read.append(len(into))
        read_fully(descriptor, into, offset)

    monkeypatch.setattr("dtrak_stream.store.stored_shard.read_fully", counted)
    [picked] = FeatureStore.open(store.layout.root).picked(rows)
    assert np.array_equal(picked, wanted)
    assert sum(read) == len(rows) * 64 * np.dtype(dtype).itemsize + 20 * 4  # and their scales
    assert len(read) == 5 + 3  # rows that follow each other at once
    monkeypatch.setattr("dtrak_stream.store.reader.BLOCK_BYTES", 4 * 64 * 4)
    assert [len(block) for block in store.picked(rows)] == [4, 2]


def test_blocks_are_bounded(store, monkeypatch):
    monkeypatch.setattr("dtrak_stream.store.reader.BLOCK_BYTES", 2 * 64 * 4)
    assert [len(rows) for rows, _ in store.blocks(0)] == [2, 2, 2, 1]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_joined_view_is_one_array_for_anyone(store, tmp_path, monkeypatch, elsewhere):
    if elsewhere:
        monkeypatch.chdir(tmp_path)
    with h5py.File(store.layout.root / "features.h5") as file:
        assert np.array_equal(file["features"][()] * file["scale"][()][:, None], FEATURES)
        assert file["sample_id"][3] == b"images-3"
        assert file["sample_id"][13] == b"images-13"


def test_quarantined_rows_are_not_usable(make_store):
    features = FEATURES.copy()
    features[[3, 19]] = np.nan
    store = make_store("s", features)
    assert np.flatnonzero(~store.usable()).tolist() == [3, 19]
    assert not store.rows(range(3, 4)).any()


def test_a_store_with_a_missing_shard_is_refused(make_store):
    store = make_store("s", FEATURES)
    store.layout.shard_path(1).unlink()
    with pytest.raises(InputError, match=r"1 of 3 shards are missing.*run the featurize command"):
        FeatureStore.open(store.layout.root)


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a feature store"):
        FeatureStore.open(tmp_path)


def test_a_damaged_plan_is_refused(make_store):
    store = make_store("s", FEATURES)
    store.layout.plan_path.write_text("{")
    with pytest.raises(CorruptFileError, match=r"store\.json"):
        read_layout(store.layout.root)


def test_a_store_of_another_format_is_refused(make_store):
    store = make_store("s", FEATURES)
    plan = json.loads(store.layout.plan_path.read_text()) | {"format_version": 99}
    store.layout.plan_path.write_text(json.dumps(plan))
    with pytest.raises(InputError, match="written in format 99"):
        read_layout(store.layout.root)


def test_damage_is_found_when_a_block_is_read(make_store):
    store = make_store("s", FEATURES)
    path = store.layout.shard_path(2)
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file["features"].id.get_offset()] ^= 1
    path.write_bytes(content)
    reopened = FeatureStore.open(store.layout.root)
    with pytest.raises(CorruptFileError, match=r"00000002\.h5"):
        list(reopened.blocks(2))


@pytest.mark.parametrize("read", [FeatureStore.usable, lambda store: store.ids[:]])
def test_a_truncated_shard_is_found_when_small_parts_are_read(make_store, read):
    store = make_store("s", FEATURES)
    path = store.layout.shard_path(1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptFileError, match=r"00000001\.h5"):
        read(FeatureStore.open(store.layout.root))


@pytest.mark.parametrize("rows", [slice(0, 0), slice(3, 4), slice(2, 9), slice(None)])
def test_ids_are_read_a_slice_at_a_time_across_shards(make_store, rows):
    store = make_store("s", FEATURES)
    everyone = [f"s-{row}".encode() for row in range(len(store))]
    assert store.ids[rows] == everyone[rows]
    assert store.ids.width == max(map(len, everyone))


def test_ids_of_a_shard_of_another_run_are_refused(make_store):
    store, other = make_store("s", FEATURES), make_store("t", FEATURES)
    other.layout.shard_path(1).rename(store.layout.shard_path(1))
    with pytest.raises(CorruptFileError, match="belongs to another run"):
        _ = store.ids[:]


def changed(fingerprint, name):
    value = getattr(fingerprint, name)
    other = value + 1 if isinstance(value, int) else f"{value}x"
    return dataclasses.replace(fingerprint, **{name: (1,) if name == "timesteps" else other})


def field_names():
    from dtrak_stream.store.fingerprint import Fingerprint

    return [field.name for field in dataclasses.fields(Fingerprint)]


@pytest.mark.parametrize("name", field_names())
def test_every_field_is_part_of_the_hash_and_refused_by_name(store, name):
    other = changed(store.fingerprint, name)
    assert other.hash() != store.fingerprint.hash()
    with pytest.raises(FingerprintMismatchError) as refusal:
        store.fingerprint.refuse_other(other, where="store", remedy="change it")
    assert refusal.value.field == name
    for value in (getattr(store.fingerprint, name), getattr(other, name)):
        assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("name", field_names())
def test_fields_that_may_differ_are_not_refused(store, name):
    other = changed(store.fingerprint, name)
    store.fingerprint.refuse_other(other, may_differ={name}, where="store", remedy="change it")


def test_the_fingerprint_survives_the_disk(store):
    assert read_layout(store.layout.root).fingerprint == store.fingerprint


def test_fields_added_later_leave_the_hash_of_older_stores_alone(store):
    assert store.fingerprint.hash() == HASH
    assert "timestep_weights" not in store.fingerprint.recorded()


def test_the_ledger_keeps_what_is_appended(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    first = [QuarantinedSample(3, "a/ü.png", "truncated")]
    append_quarantine(path, first)
    append_quarantine(path, [])
    append_quarantine(path, [QuarantinedSample(9, "b.png", "NaN")])
    assert [entry.row for entry in read_quarantine(path)] == [3, 9]
    with path.open("ab") as file:
        file.write(b'{"row": 12, "sam')  # torn by a crash
    assert [entry.row for entry in read_quarantine(path)] == [3, 9]
    append_quarantine(path, [QuarantinedSample(20, "c.png", "NaN")])
    assert [entry.row for entry in read_quarantine(path)] == [3, 9, 20]
    keep_quarantine(path, first)
    assert read_quarantine(path) == first


def test_a_shard_that_has_lost_its_residuals_is_named(make_store):
    store = with_residuals(make_store("train", np.ones((9, 64), np.float32)), np.arange(9.0))
    assert store.residuals().tolist() == list(range(9))
    path, fingerprint = store.layout.shard_path(1), store.fingerprint.hash()
    rows = read_shard(path, fingerprint)
    changed = dataclasses.replace(rows, features=np.array(rows.features), residual=None)
    write_shard(path, changed, fingerprint)
    with pytest.raises(CorruptFileError, match=r"00000001\.h5: has no residual"):
        FeatureStore.open(store.layout.root).residuals()
