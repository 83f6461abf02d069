"""A Gram matrix of a store that rows came to, or went from, next to one computed anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.gram.file import Gram
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.plan import tile_bytes
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.gram.update import TOLERANCE
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from tests.conftest import append_to, store_of
from tests.crashing import contents, finishes_before_step

DIM = 12
FORMS = pytest.mark.parametrize("form", ["primal", "dual"])


def random_features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def gram_of(store: FeatureStore, out: Path, form: str = "primal", limit: str = "4GiB") -> Gram:
    options = GramOptions(gram_form=form, memory_limit=limit)  # type: ignore[arg-type]
    compute_gram(GramConfig(store.layout.root, out, options, quiet=True))
    return Gram.open(out)


def without(store: FeatureStore, rows: list[int], tmp_path: Path) -> FeatureStore:
    (tmp_path / "rows.txt").write_text("\n".join(map(str, rows)))
    remove(RemoveConfig((store.layout.root,), rows=tmp_path / "rows.txt"))
    return FeatureStore.open(store.layout.root)


@FORMS
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("change", ["append", "remove", "both", "removed of the new"])
def test_it_is_the_matrix_of_a_rebuild(tmp_path, capsys, monkeypatch, form, dtype, change):
    features, gone = random_features(40), [0, 3, 4, 11, 33]
    store = store_of(tmp_path / "s", features[:36], dtype=dtype)
    gram_of(store, tmp_path / "gram.h5", form)
    if change != "remove":
        store = append_to(store, features[36:])
    if change == "removed of the new":
        gone = [1, 36, 39]
    if change != "append":
        store = without(store, gone, tmp_path)
    monkeypatch.setattr("dtrak_stream.gram.plan._SMALLEST_TILE", 5)
    gram = gram_of(store, tmp_path / "gram.h5", form)
    assert "brought up to date" in capsys.readouterr().err
    anew = gram_of(store, tmp_path / "anew.h5", form)
    assert gram.fingerprint == anew.fingerprint == store.layout.state
    largest = np.abs(anew.matrix()).max()
    assert np.allclose(gram.matrix(), anew.matrix(), rtol=0, atol=1e-6 * largest)
    assert np.array_equal(gram.matrix(), gram.matrix().T)
    assert np.abs(gram.matrix()).max() > 1


@FORMS
def test_small_tiles_are_brought_up_to_date_too(tmp_path, capsys, monkeypatch, form):
    monkeypatch.setattr("dtrak_stream.gram.plan._SMALLEST_TILE", 5)
    features = random_features(40)
    store = store_of(tmp_path / "s", features[:34])
    gram_of(store, tmp_path / "gram.h5", form)
    store = without(append_to(store, features[34:]), [2, 20, 38], tmp_path)
    limit = tile_bytes(store, form, 10, 1)
    gram = gram_of(store, tmp_path / "gram.h5", form, limit=str(limit))
    told = capsys.readouterr().err
    assert "brought up to date, 6 rows added and 2 removed" in told
    stored = store.rows(range(40)).astype(np.float64)
    wanted = stored.T @ stored if form == "primal" else stored @ stored.T
    assert np.allclose(gram.matrix(), wanted, rtol=0, atol=1e-5)


def test_only_what_changed_is_read(tmp_path, monkeypatch):
    features = random_features(40)
    store = store_of(tmp_path / "s", features[:36])
    gram_of(store, tmp_path / "gram.h5")
    store = append_to(store, features[36:])
    for shard in range(6):
        store.layout.shard_path(shard).write_bytes(b"nobody reads this")
    assert gram_of(store, tmp_path / "gram.h5").fingerprint == store.layout.state


def test_a_matrix_that_subtracting_has_rounded_off_is_computed_anew(tmp_path, capsys):
    features = random_features(40)
    features[0] *= 3000
    store = store_of(tmp_path / "s", features)
    gram_of(store, tmp_path / "gram.h5")
    store = without(store, [0], tmp_path)
    gram = gram_of(store, tmp_path / "gram.h5").matrix()
    assert "computing it anew" in capsys.readouterr().err
    assert np.array_equal(gram, gram_of(store, tmp_path / "anew.h5").matrix())


def test_the_error_that_is_told_is_the_error(tmp_path, capsys):
    features = random_features(40)
    features[0] *= 8
    store = store_of(tmp_path / "s", features)
    gram_of(store, tmp_path / "gram.h5")
    store = without(store, [0], tmp_path)
    gram = gram_of(store, tmp_path / "gram.h5").matrix()
    told = float(capsys.readouterr().err.rsplit("relative error ", 1)[1].split()[0])
    stored = store.rows(range(40)).astype(np.float64)
    wanted = stored.T @ stored
    error = np.linalg.norm(gram - wanted) / np.linalg.norm(wanted)
    assert error / 3 < told < 3 * error + 1e-7
    assert told < TOLERANCE


def test_many_changes_are_a_rebuild(tmp_path, capsys):
    features = random_features(40)
    store = store_of(tmp_path / "s", features)
    gram_of(store, tmp_path / "gram.h5")
    store = without(store, list(range(25)), tmp_path)
    gram = gram_of(store, tmp_path / "gram.h5").matrix()
    assert "brought up to date" not in capsys.readouterr().err
    assert np.array_equal(gram, gram_of(store, tmp_path / "anew.h5").matrix())


def test_more_rows_than_numbers_make_the_primal_matrix_of_a_dual_one(tmp_path):
    features = random_features(16)
    store = store_of(tmp_path / "s", features[:12])
    assert gram_of(store, tmp_path / "gram.h5", "auto").form == "dual"
    store = append_to(store, features[12:])
    assert gram_of(store, tmp_path / "gram.h5", "auto").form == "primal"


def test_the_matrix_of_another_store_is_still_refused(tmp_path):
    store = store_of(tmp_path / "s", random_features(20))
    other = store_of(tmp_path / "t", random_features(20), images="others")
    gram_of(store, tmp_path / "gram.h5")
    with pytest.raises(FingerprintMismatchError):
        gram_of(without(other, [1], tmp_path), tmp_path / "gram.h5")


def test_killed_at_any_step_the_old_matrix_or_the_new_one_is_there(tmp_path):
    features = random_features(20)
    store = store_of(tmp_path / "s", features)
    out = tmp_path / "gram.h5"
    gram_of(store, out)
    before = out.read_bytes()
    states = [store.layout.state]
    store = without(store, [3], tmp_path)
    states.append(store.layout.state)
    after, step = None, 0
    while True:
        out.write_bytes(before)
        over = finishes_before_step(lambda: gram_of(store, out), step)
        assert Gram.open(out).fingerprint in states
        gram_of(store, out)
        after = after or out.read_bytes()
        assert out.read_bytes() == after
        assert not [name for name in contents(tmp_path) if "partial" in name]
        if over:
            break
        step += 1
    assert step > 2
