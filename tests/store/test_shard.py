"""Shards: exact contents back, bounded rounding, and damage that never goes unseen."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.store.shard import pack_rows, write_shard
from dtrak_stream.store.stored_shard import read_shard

finite = st.floats(-(2.0**100), 2.0**100, width=32)


def features(rows=3, proj_dim=64, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, proj_dim)).astype(np.float32)


def written(path, values=None, dtype="float16"):
    values = features() if values is None else values
    ids = [f"id-{row}-ü" for row in range(len(values))]
    write_shard(path, pack_rows(values, ids, dtype), "fingerprint")
    return path


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(64)), elements=finite))
@example(np.full((1, 64), 2.0**-138, np.float32))  # divided by 2**15, it is no float any more
def test_float16_rows_lose_at_most_a_rounding_error(values):
    packed = pack_rows(values, ["x"] * len(values), "float16")
    restored = packed.dequantised(0, len(values)).astype(np.float64)
    largest = np.abs(values).max(axis=1, keepdims=True).astype(np.float64)
    bound = np.maximum(np.abs(values) * 2.0**-11, largest * 2.0**-39) + 2.0**-149
    assert (np.abs(restored - values) <= bound).all()
    assert (packed.scale > 0).all()


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(64)), elements=finite))
@example(np.full((1, 64), 2.0**-138, np.float32))
def test_int8_rows_lose_at_most_half_of_a_127th_of_the_largest_entry(values):
    packed = pack_rows(values, ["x"] * len(values), "int8")
    assert packed.features.dtype == np.int8
    restored = packed.dequantised(0, len(values)).astype(np.float64)
    largest = np.abs(values).max(axis=1, keepdims=True).astype(np.float64)
    assert (np.abs(restored - values) <= largest * (0.5 + 2.0**-12) / 127 + 2.0**-126).all()
    assert (packed.scale > 0).all()
    of_size = np.flatnonzero(largest > 2.0**-100)
    assert (np.abs(packed.features[of_size].astype(int)).max(axis=1, initial=0) == 127).all()


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(64)), elements=finite))
def test_float32_rows_are_exact(values):
    packed = pack_rows(values, ["x"] * len(values), "float32")
    assert np.array_equal(packed.dequantised(0, len(values)), values)


def test_norm_is_that_of_the_unrounded_feature():
    packed = pack_rows(features(), ["a", "b", "c"], "float16")
    expected = np.linalg.norm(features().astype(np.float64), axis=1)
    assert np.allclose(packed.norm, expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_a_row_that_is_not_finite_is_never_stored(bad, dtype):
    values = features()
    values[1, 5] = bad
    packed = pack_rows(values, ["a", "b", "c"], dtype)
    assert packed.scale[1] == 0
    assert packed.norm[1] == 0
    assert not packed.features[1].any()
    assert (packed.scale[[0, 2]] > 0).all()
    assert np.isfinite(packed.features).all()


def test_a_row_too_long_for_float32_is_not_stored():
    packed = pack_rows(np.full((1, 64), 3e38, np.float32), ["a"], "float16")
    assert packed.scale[0] == 0


def test_a_zero_row_is_not_a_quarantined_one():
    packed = pack_rows(np.zeros((1, 64), np.float32), ["a"], "float16")
    assert packed.scale[0] == 1


def test_a_shard_reads_back_as_written(tmp_path):
    path = written(tmp_path / "0.h5")
    expected = pack_rows(features(), ["id-0-ü", "id-1-ü", "id-2-ü"], "float16")
    rows = read_shard(path, "fingerprint")
    for name in ("features", "scale", "sample_id", "norm"):
        assert np.array_equal(getattr(rows, name), getattr(expected, name))
    assert isinstance(rows.features, np.memmap)


def test_a_shard_is_plain_hdf5_with_contiguous_features(tmp_path):
    with h5py.File(written(tmp_path / "0.h5")) as file:
        assert set(file) == {"features", "scale", "sample_id", "norm"}
        assert set(file.attrs) == {"fingerprint", "checksum"}
        assert file["features"].chunks is None
        assert file["features"].dtype == np.float16
        assert file["scale"].dtype == np.float32


def test_the_same_rows_give_the_same_bytes(tmp_path):
    first, second = written(tmp_path / "a.h5"), written(tmp_path / "b.h5")
    assert first.read_bytes() == second.read_bytes()


def test_every_truncation_is_seen(tmp_path):
    path = written(tmp_path / "0.h5")
    content = path.read_bytes()
    for size in {0, 1, 100, 4096, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:size])
        with pytest.raises(CorruptFileError, match=r"0\.h5.*--redo-corrupt"):
            read_shard(path, "fingerprint")


def test_every_flipped_byte_of_the_contents_is_seen(tmp_path):
    path = written(tmp_path / "0.h5")
    content = path.read_bytes()
    with h5py.File(path) as file:
        places = [
            file[name].id.get_offset() + byte
            for name in file
            for byte in (0, file[name].size * file[name].dtype.itemsize - 1)
        ]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=r"0\.h5"):
            read_shard(path, "fingerprint")


def test_a_flipped_byte_anywhere_is_seen_or_harmless(tmp_path):
    path = written(tmp_path / "0.h5")
    content = path.read_bytes()
    whole = read_shard(path, "fingerprint")
    expected = {n: getattr(whole, n).copy() for n in ("features", "scale", "sample_id", "norm")}
    for place in range(0, len(content), 37):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            rows = read_shard(path, "fingerprint")
        except CorruptFileError:
            continue
        for name, array in expected.items():
            assert np.array_equal(getattr(rows, name), array)


def test_a_shard_of_another_run_is_refused(tmp_path):
    with pytest.raises(CorruptFileError, match="another run"):
        read_shard(written(tmp_path / "0.h5"), "other fingerprint")


def test_a_shard_that_was_relabelled_for_another_run_is_refused(tmp_path):
    path = written(tmp_path / "0.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["fingerprint"] = "other fingerprint"
    with pytest.raises(CorruptFileError, match="do not match the checksum"):
        read_shard(path, "other fingerprint")


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    path = tmp_path / "0.h5"
    path.write_bytes(b"not HDF5 at all")
    with pytest.raises(CorruptFileError, match="not a shard"):
        read_shard(path, "fingerprint")
