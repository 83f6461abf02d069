"""Exporting: formats read back by others' readers, quarantine, tables, refusals, the way back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_QUARANTINED
from dtrak_stream.errors import DtrakStreamError, InputError, InterruptedRunError
from dtrak_stream.exchange.exporting import export
from dtrak_stream.exchange.importing import import_features
from dtrak_stream.exchange.options import ExportConfig, ExportResult, ImportConfig
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.configuration import parse
from tests.conftest import store_of
from tests.crashing import finishes_before_step
from tests.exchange.conftest import features_in, ids_in, random_features
from tests.scoring.conftest import Attribution, attribution_of, close, read, whole_numbers
from tests.small_jobs import run_tool

exporting = import_module("dtrak_stream.exchange.exporting")


def exported(store: FeatureStore, out: Path, **options: Any) -> ExportResult:
    return export(ExportConfig(out=out, store=store.layout.root, quiet=True, **options))


def read_fvecs(path: Path) -> np.ndarray:
    """The recipe of the tool's help."""
    x = np.fromfile(path, "int32")
    return x.reshape(-1, x[0] + 1)[:, 1:].copy().view("float32")


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": np.load,
    ".safetensors": lambda path: load_file(path)["features"],
    ".fvecs": read_fvecs,
}


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 16),
    columns=st.integers(1, 9),
    suffix=st.sampled_from(sorted(READERS)),
    bad=st.sets(st.integers(0, 15)),
)
def test_features_of_any_size_are_read_back_by_others(rows, columns, suffix, bad):
    features = random_features(rows, columns)
    lost = sorted(row for row in bad if row < rows - 1)
    features[lost] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        store, out = store_of(Path(folder, "store"), features), Path(folder, f"out{suffix}")
        assert exported(store, out).quarantined == len(lost)
        assert np.array_equal(READERS[suffix](out), np.delete(features, lost, axis=0))
        ids = Path(folder, f"out{suffix}.ids.txt").read_text().splitlines()
        assert ids == [f"images-{row}" for row in range(rows) if row not in lost]


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_a_shard_without_a_usable_sample_leaves_nothing(tmp_path, suffix):
    features = random_features(9, 4)
    features[:7] = np.nan  # all of the first shard
    out = tmp_path / f"out{suffix}"
    exported(store_of(tmp_path / "store", features), out)
    assert np.array_equal(READERS[suffix](out), features[7:])


def test_quarantined_rows_are_nan_when_asked_for(tmp_path):
    features = random_features(9, 4)
    features[[0, 8]] = np.nan
    store = store_of(tmp_path / "store", features)
    result = exported(store, tmp_path / "out.npy", quarantined="nan")
    assert result.quarantined == 2
    assert np.array_equal(np.load(tmp_path / "out.npy"), features, equal_nan=True)
    assert len((tmp_path / "out.npy.ids.txt").read_text().splitlines()) == 9


def test_half_precision_features_are_exported_as_what_they_stand_for(tmp_path):
    store = store_of(tmp_path / "store", 1e6 * random_features(5, 8), dtype="float16")
    exported(store, tmp_path / "out.npy")
    assert np.array_equal(np.load(tmp_path / "out.npy"), store.rows(range(5)))


def test_a_safetensors_file_tells_what_it_holds(tmp_path):
    store = store_of(tmp_path / "store", random_features(3, 4))
    exported(store, tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "numpy") as file:
        assert file.metadata()["fingerprint"] == store.fingerprint.hash()
        assert file.metadata()["output_function"] == "square"


def taken_back(npy: Path, store: Path) -> FeatureStore:
    """Import an exported array as the file beside it says."""
    options = ["--config", f"{npy}.import.yaml", "--store", str(store), "--quiet"]
    import_features(parse(ImportConfig, options))
    return FeatureStore.open(store)


def test_features_taken_back_give_the_same_scores(tmp_path):
    features, queries = whole_numbers(24, 64), whole_numbers(5, 64, 1)
    native = attribution_of(tmp_path / "native", features, queries, form="primal")
    stores = []
    for store in (native.train, native.query):
        name = store.layout.root.name
        exported(store, tmp_path / f"{name}.npy")
        stores.append(taken_back(tmp_path / f"{name}.npy", tmp_path / "imported" / name))
    back = Attribution(tmp_path / "imported", *stores).make_gram("primal")
    scores, expected = read(back.score().path), read(native.score().path)
    assert scores.keys() == expected.keys()
    for name in scores:
        assert np.array_equal(scores[name], expected[name]), name


def test_scaled_imports_score_as_unscaled_ones_with_damping_relative_to_the_spectrum(tmp_path):
    features, queries = random_features(24, 64), random_features(5, 64, seed=1)
    one = attribution_of(tmp_path / "one", features, queries)
    half = attribution_of(tmp_path / "half", features / 8, queries / 8)
    assert close(half.scores(damping="0.1"), one.scores(damping="0.1"))


def test_imported_rows_are_named_and_quarantined_as_the_exported_ones(tmp_path):
    features = random_features(9, 4)
    features[3] = np.nan
    store = store_of(tmp_path / "store", features)
    exported(store, tmp_path / "out.npy", quarantined="nan")
    back = taken_back(tmp_path / "out.npy", tmp_path / "back")
    assert ids_in(tmp_path / "back") == [f"images-{row}" for row in range(9)]
    assert np.flatnonzero(~back.usable()).tolist() == [3]
    assert np.array_equal(features_in(tmp_path / "back"), store.rows(range(9)))


def test_an_id_that_cannot_stand_on_a_line_is_refused(tmp_path):
    store = store_of(tmp_path / "x", random_features(3, 4), images="two\nlines")
    with pytest.raises(InputError, match="holds a line break"):
        exported(store, tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


def test_a_full_disk_is_foreseen(tmp_path, monkeypatch):
    store = store_of(tmp_path / "x", random_features(3, 4))
    monkeypatch.setattr(exporting, "file_size", lambda *_: 2**62)
    with pytest.raises(DtrakStreamError, match="are needed"):
        exported(store, tmp_path / "out.npy")


def test_an_export_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path):
    store = store_of(tmp_path / "x", random_features(9, 4))
    out = tmp_path / "out.fvecs"
    exported(store, out)
    before = out.stat().st_ino
    for step in range(20):
        finished = finishes_before_step(lambda: exported(store, out), step)
        assert np.array_equal(read_fvecs(out), random_features(9, 4))
        if finished:
            break
    assert step > 3
    assert out.stat().st_ino != before


def test_ctrl_c_leaves_nothing_behind(tmp_path, monkeypatch):
    store = store_of(tmp_path / "x", random_features(9, 4))

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FeatureStore, "blocks", stopped)
    with pytest.raises(InterruptedRunError):
        exported(store, tmp_path / "out.npy")
    assert not list(tmp_path.glob("out.npy*partial"))
    assert not (tmp_path / "out.npy").exists()


def test_the_tools_take_the_way_there_and_back(tmp_path, capsys):
    features = random_features(5, 4)
    features[2] = np.nan
    store_of(tmp_path / "store", features)
    out = tmp_path / "out.npy"
    code, printed, _ = run_tool(
        "export", ["--store", str(tmp_path / "store"), "--out", str(out)], capsys
    )
    assert (code, printed) == (EXIT_QUARANTINED, f"{out}\n")
    options = ["--config", f"{out}.import.yaml", "--store", str(tmp_path / "back")]
    code, printed, _ = run_tool("import_features", options, capsys)
    assert (code, printed) == (EXIT_DONE, f"{tmp_path / 'back'}\n")
    assert np.array_equal(features_in(tmp_path / "back"), np.delete(features, 2, axis=0))
