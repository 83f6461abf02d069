"""Importing: what is read, where it goes, what is refused, and going on after a crash."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrak_stream.errors import (
    CorruptFileError,
    DtrakStreamError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
)
from dtrak_stream.exchange import scaled_rows
from dtrak_stream.exchange.exporting import export
from dtrak_stream.exchange.importing import import_features
from dtrak_stream.exchange.options import ExportConfig
from dtrak_stream.features.comparing import refuse_other_features
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.writer import StoreWriter
from tests.crashing import contents, finishes_before_step
from tests.exchange.conftest import (
    features_in,
    ids_in,
    import_config,
    imported,
    random_features,
    saved,
)
from tests.small_jobs import stored


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 11),
    columns=st.integers(1, 9),
    per_shard=st.integers(1, 12),
    dtype=st.sampled_from(["<f2", "<f4", "<f8", ">f4"]),
    order=st.sampled_from(["C", "F"]),
)
def test_an_npy_file_of_any_size_and_type_comes_back(rows, columns, per_shard, dtype, order):
    array = random_features(rows, columns).astype(dtype, order=order)
    with tempfile.TemporaryDirectory() as folder:
        path, store = saved(Path(folder, "a.npy"), array), Path(folder, "store")
        result = imported(path, store, rows_per_shard=per_shard)
        assert (result.computed, result.quarantined) == (rows, 0)
        assert np.array_equal(features_in(store), array.astype(np.float32))
        assert ids_in(store) == [str(row) for row in range(rows)]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_raw_memory_map_is_read_as_declared(tmp_path, order):
    array = random_features(6, 5)
    (tmp_path / "raw").write_bytes(array.tobytes(order=order))
    imported(
        tmp_path / "raw",
        tmp_path / "store",
        array_shape="6x5",
        array_dtype="float32",
        array_order=order,
    )
    assert np.array_equal(features_in(tmp_path / "store"), array)


def test_the_first_columns_of_unscaled_projections_become_features_that_keep_products(tmp_path):
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(5, 40))
    projection = generator.normal(size=(40, 8192))  # N(0,1), not scaled
    path = saved(tmp_path / "a.npy", (gradients @ projection).astype(np.float32))
    imported(path, tmp_path / "store", used_dim=4096, scale="1/sqrt(k)")
    features = features_in(tmp_path / "store")
    assert features.shape == (5, 4096)
    assert np.allclose(features, gradients @ projection[:, :4096] / 64, rtol=1e-5, atol=1e-5)
    products = gradients @ gradients.T
    assert np.abs(features @ features.T - products).max() < 0.1 * products.max()


def test_the_fingerprint_says_what_was_declared(tmp_path):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    imported(path, tmp_path / "store", projector_name="CudaProjector, seed 42", used_dim=2)
    fingerprint = FeatureStore.open(tmp_path / "store").fingerprint
    assert fingerprint.model == "imported: a model"
    assert (fingerprint.output_function, fingerprint.timesteps) == ("square", (0, 500))
    name = "imported: normal (CudaProjector, seed 42), first 2 of 4 columns, times 1.0"
    assert fingerprint.projector == name


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"source": "another model"}, "model"),
        ({"scale": "2"}, "projector"),
        ({"output_function": "simple"}, "output_function"),
    ],
)
def test_stores_declared_otherwise_are_not_compared(tmp_path, changed, field):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    imported(path, tmp_path / "one")
    imported(path, tmp_path / "other", **changed)
    one, other = (FeatureStore.open(tmp_path / name).fingerprint for name in ("one", "other"))
    with pytest.raises(FingerprintMismatchError, match=f"{field} differs"):
        refuse_other_features(one, other, where="other")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_row_that_is_no_feature_is_refused_by_name_before_anything_is_written(tmp_path, value):
    array = random_features(9, 3).astype(np.float64)
    array[6, 1] = value
    (tmp_path / "ids").write_text("".join(f"s{row}\n" for row in range(9)))
    path = saved(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=r"row 6 \(s6\) holds NaN or inf"):
        imported(path, tmp_path / "store", ids=tmp_path / "ids")
    assert not (tmp_path / "store").exists()


def test_bad_rows_are_quarantined_when_asked_for(tmp_path):
    array = random_features(9, 3)
    array[6, 1] = np.nan
    path = saved(tmp_path / "a.npy", array)
    result = imported(path, tmp_path / "store", bad_rows="quarantine")
    assert result.quarantined == 1
    store = FeatureStore.open(tmp_path / "store")
    assert np.flatnonzero(~store.usable()).tolist() == [6]
    (entry,) = read_quarantine(store.layout.quarantine_path)
    assert (entry.row, entry.sample_id) == (6, "6")


def test_rows_that_were_never_written_are_refused(tmp_path):
    array = random_features(9, 3)
    array[5:] = 0
    path = saved(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=r"row 5 \(5\) is zero throughout"):
        imported(path, tmp_path / "store")
    imported(path, tmp_path / "kept", zero_rows="keep")
    assert np.array_equal(features_in(tmp_path / "kept"), array)


REFUSED: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "a vector": (np.zeros(4, np.float32), {}, "is not features"),
    "images": (np.zeros((2, 3, 4), np.float32), {}, "is not features"),
    "no rows": (np.zeros((0, 4), np.float32), {}, "cannot be read|is not features"),
    "integers": (np.ones((2, 4), np.int32), {}, "holds int32"),
    "complex": (np.ones((2, 4), np.complex64), {}, "holds complex64"),
    "objects": (np.array([[None]]), {}, "cannot be read as an npy file"),
    "another shape": (np.ones((2, 4)), {"array_shape": "4x2"}, "its shape is"),
    "another type": (np.ones((2, 4)), {"array_dtype": "float32"}, "it holds float64"),
    "too many columns": (np.ones((2, 4)), {"used_dim": 5}, "has 4 columns"),
    "an odd shape": (np.ones((2, 4)), {"array_shape": "2,4"}, "not a shape"),
    "an odd type": (np.ones((2, 4)), {"array_dtype": "int8"}, "not a type"),
    "no scale": (np.ones((2, 4)), {"scale": "big"}, "not a positive number"),
    "a negative scale": (np.ones((2, 4)), {"scale": "-1"}, "not a positive number"),
    "a scaled identity": (
        np.ones((2, 4)),
        {"scale": "1/sqrt(k)", "projector": "identity"},
        "not projected",
    ),
    "no such function": (np.ones((2, 4)), {"output_function": "sqare"}, "unknown output"),
    "no such timesteps": (np.ones((2, 4)), {"timesteps": "list:5000"}, "must lie in"),
    "an image shape": (np.ones((2, 4)), {"image_shape": "32"}, "not a shape"),
    "no source": (np.ones((2, 4)), {"source": " "}, "says nothing"),
    "no draws": (np.ones((2, 4)), {"noise_draws": 0}, "at least 1"),
    "no rows in a shard": (np.ones((2, 4)), {"rows_per_shard": 0}, "must be from 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_declared_is_refused(tmp_path, case):
    array, options, message = REFUSED[case]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DtrakStreamError, match=message):
        imported(tmp_path / "a.npy", tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"\0" * 80, {}, "shape and type have to be declared"),
        (b"\0" * 80, {"array_shape": "2x5", "array_dtype": "float32"}, "has 80 bytes"),
        (b"", {"array_shape": "2x5", "array_dtype": "float32"}, "has 0 bytes"),
        (b"\x93NUMPY\x01\x00", {}, "cannot be read as an npy file"),
    ],
)
def test_a_file_of_another_size_is_refused(tmp_path, content, options, message):
    (tmp_path / "raw").write_bytes(content)
    with pytest.raises(DtrakStreamError, match=message):
        imported(tmp_path / "raw", tmp_path / "store", **options)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        imported(tmp_path / "none.npy", tmp_path / "store")


def test_a_folder_that_is_something_else_is_refused(tmp_path):
    path = saved(tmp_path / "a.npy", random_features(3, 4))
    with pytest.raises(InputError, match="not empty and not a feature store"):
        imported(path, tmp_path)


def test_another_array_does_not_continue_a_store(tmp_path):
    imported(saved(tmp_path / "a.npy", random_features(5, 4)), tmp_path / "store")
    other = saved(tmp_path / "b.npy", random_features(5, 4, seed=1))
    with pytest.raises(FingerprintMismatchError, match="images differs"):
        imported(other, tmp_path / "store")


def test_the_fingerprint_does_not_depend_on_the_blocks_that_are_read(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.npy", random_features(9, 4))
    imported(path, tmp_path / "store")
    monkeypatch.setattr(scaled_rows, "_BLOCK_BYTES", 2 * 8 * 4)
    assert imported(path, tmp_path / "store").computed == 0


def test_memory_is_that_of_a_block_and_a_shard_however_large_the_array(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.npy", random_features(2048, 512))  # 4 MiB
    monkeypatch.setattr(scaled_rows, "_BLOCK_BYTES", 2**19)
    tracemalloc.start()
    try:
        imported(path, tmp_path / "store", rows_per_shard=128)  # 256 KiB
        _, peak_of_import = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        config = ExportConfig(out=tmp_path / "b.npy", store=tmp_path / "store", quiet=True)
        assert export(config).path.stat().st_size == path.stat().st_size
        _, peak_of_export = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(peak_of_import, peak_of_export) < 3.5 * 2**20


def test_a_complete_store_is_left_alone(tmp_path):
    config = import_config(saved(tmp_path / "a.npy", random_features(9, 4)), tmp_path / "store")
    import_features(config)
    shards = [path.stat().st_mtime_ns for path in sorted((tmp_path / "store/shards").iterdir())]
    assert import_features(config).computed == 0
    assert shards == [p.stat().st_mtime_ns for p in sorted((tmp_path / "store/shards").iterdir())]


def test_a_damaged_shard_is_refused_and_written_again_when_asked_for(tmp_path):
    path = saved(tmp_path / "a.npy", random_features(9, 4))
    imported(path, tmp_path / "store")
    whole = contents(tmp_path / "store", "shards/*")
    (tmp_path / "store/shards/00000001.h5").write_bytes(b"torn")
    with pytest.raises(CorruptFileError, match="--redo-corrupt"):
        imported(path, tmp_path / "store")
    assert imported(path, tmp_path / "store", redo_corrupt=True).computed == 4
    assert contents(tmp_path / "store", "shards/*") == whole


def test_an_import_killed_at_any_step_goes_on_to_the_same_bytes(tmp_path):
    array = random_features(10, 4)
    array[[2, 9]] = np.nan
    path = saved(tmp_path / "a.npy", array)
    whole = import_config(path, tmp_path / "whole", bad_rows="quarantine")
    import_features(whole)
    for step in range(0, 60, 3):
        config = import_config(path, tmp_path / f"killed-{step}", bad_rows="quarantine")
        if finishes_before_step(lambda: import_features(config), step):  # noqa: B023
            break
        import_features(config)
        assert stored(config.store) == stored(whole.store), f"killed at step {step}"
    else:
        pytest.fail("it never finished")
    assert step > 20


def test_ctrl_c_keeps_finished_shards(tmp_path, monkeypatch):
    config = import_config(saved(tmp_path / "a.npy", random_features(10, 4)), tmp_path / "store")
    write = StoreWriter.write

    def write_one(self, rows):
        if rows.shard == 1:
            raise KeyboardInterrupt
        write(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write", write_one)
        with pytest.raises(InterruptedRunError, match="1 of 3 shards"):
            import_features(config)
    assert import_features(config).computed == 6
