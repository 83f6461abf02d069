"""Verifying stores that samples came to or went from, and what was made of them before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.errors import CorruptFileError, FingerprintMismatchError
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from dtrak_stream.verification.options import VerifyConfig
from dtrak_stream.verification.run import verify
from tests.conftest import append_to, store_of


def check(run: Path) -> None:
    verify(VerifyConfig(run, quiet=True))


@pytest.fixture
def run(tmp_path) -> Path:
    """A store whose Gram matrix was computed before it was changed twice; one row is bad."""
    features = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    features[4] = np.nan
    run: Path = tmp_path / "run"
    store = store_of(run / "train", features[:16])
    ledger = '{"row": 4, "sample_id": "images-4", "reason": "bad"}\n'
    store.layout.quarantine_path.write_text(ledger)
    compute_gram(GramConfig(store.layout.root, run / "gram.h5", quiet=True))
    append_to(store, features[16:])
    (tmp_path / "rows.txt").write_text("1\n4\n17\n")
    remove(RemoveConfig((store.layout.root,), rows=tmp_path / "rows.txt"))
    return run


def test_a_store_after_its_last_change_is_whole(run, capsys):
    (run / "gram.h5").unlink()
    check(run)
    told = capsys.readouterr().err
    assert "1 quarantined, 3 removed, changed 2 times" in told


def test_what_is_of_an_earlier_state_is_named_with_what_to_do(run):
    with pytest.raises(FingerprintMismatchError, match="brings it up to date"):
        check(run)
    compute_gram(GramConfig(run / "train", run / "gram.h5", quiet=True))
    check(run)


def test_a_history_that_was_altered_is_named(run):
    (run / "gram.h5").unlink()
    path = run / "train/history.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"1,4,17"', b'"1,4,18"'))
    with pytest.raises(CorruptFileError, match=r"history\.jsonl: line 3"):
        check(run)


@pytest.mark.parametrize("place", [0, 40, -80, -1])
def test_a_flipped_bit_of_a_history_is_named(run, place):
    (run / "gram.h5").unlink()
    path = run / "train/history.jsonl"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"history\.jsonl: "):
        check(run)


def test_a_joined_view_from_before_a_change_is_named(run):
    (run / "gram.h5").unlink()
    store = FeatureStore.open(run / "train")
    before = store.layout.joined_view_path.read_bytes()
    (run.parent / "rows.txt").write_text("2\n")
    remove(RemoveConfig((run / "train",), rows=run.parent / "rows.txt"))
    store.layout.joined_view_path.write_bytes(before)
    with pytest.raises(CorruptFileError, match="shows another store"):
        check(run)
