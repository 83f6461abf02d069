"""Rows that were removed from a store: marked at one moment, and seen by nobody afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError, CorruptFileError, InputError
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from dtrak_stream.store.row_set import RowSet
from dtrak_stream.store.shard import pack_rows, write_shard
from dtrak_stream.support.durable import append_bytes
from tests.conftest import store_of
from tests.crashing import contents, finishes_before_step

SAMPLES, DIM = 17, 6
GONE = [0, 5, 6, 7, 16]


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(SAMPLES, DIM)).astype(np.float32)


@pytest.fixture
def store(tmp_path, features) -> FeatureStore:
    return store_of(tmp_path / "store", features)


def listed(folder: Path, rows: list[int]) -> Path:
    path = folder / "rows.txt"
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def removed(store: FeatureStore, rows: list[int]) -> FeatureStore:
    root = store.layout.root
    remove(RemoveConfig((root,), rows=listed(root.parent, rows)))
    return FeatureStore.open(root)


def test_a_removed_row_has_no_feature_wherever_it_is_read(store, features):
    kept = removed(store, GONE)
    features[GONE] = 0
    assert np.flatnonzero(~kept.usable()).tolist() == GONE
    assert np.array_equal(kept.rows(range(SAMPLES)), features)
    blocks = [block for _, block in kept.blocks_of(range(SAMPLES))]
    assert np.array_equal(np.concatenate(blocks), features)
    assert np.array_equal(kept.shard(0).norm[[0, 5, 6]], [0, 0, 0])


def test_the_joined_view_shows_nothing_of_a_removed_row(store, features):
    before = h5py.File(store.layout.joined_view_path)["sample_id"][:]
    kept = removed(store, GONE)
    features[GONE] = 0
    with h5py.File(kept.layout.joined_view_path) as view:
        assert len(view["features"].virtual_sources()) == kept.layout.num_shards
        assert np.array_equal(view["features"][:], features)
        assert (view["sample_id"][:][GONE] == b"").all()
        there = np.delete(np.arange(SAMPLES), GONE)
        assert np.array_equal(view["sample_id"][:][there], before[there])
        assert (view["scale"][:] > 0).tolist() == kept.usable().tolist()
        assert view.attrs["fingerprint"] == kept.layout.state


def test_samples_are_removed_by_their_ids_too(store, tmp_path):
    names = [name.decode() for name in store.ids[slice(None)]]
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"{names[row]}\n" for row in reversed(GONE)))
    assert remove(RemoveConfig((store.layout.root,), ids=path)).removed == len(GONE)
    assert read_layout(store.layout.root).removed.rows.tolist() == GONE


def test_the_state_depends_on_what_was_removed_and_not_on_how(tmp_path, features):
    one = removed(store_of(tmp_path / "one", features), GONE)
    other = removed(removed(store_of(tmp_path / "other", features), GONE[3:]), GONE)
    assert one.layout.state == other.layout.state != one.fingerprint.hash()
    assert len(other.layout.history.changes) == 3


def test_what_is_removed_already_stays_so_and_nothing_is_written(store):
    first = contents(removed(store, GONE).layout.root)
    assert contents(removed(store, GONE[1:3]).layout.root) == first


def test_a_store_nothing_was_removed_from_keeps_its_bytes(store, tmp_path):
    before = contents(store.layout.root)
    with pytest.raises(InputError):
        removed(store, [SAMPLES])
    path = tmp_path / "ids.txt"
    path.write_text("nobody\n")
    with pytest.raises(InputError, match="1 of its ids are not in"):
        remove(RemoveConfig((store.layout.root,), ids=path))
    with pytest.raises(InputError, match="no sample would be left"):
        removed(store, list(range(SAMPLES)))
    assert contents(store.layout.root) == before
    assert json.loads(before["store.json"])["format_version"] == 1


def test_a_name_that_several_samples_have_is_refused(tmp_path, features):
    store = store_of(tmp_path / "s", features)
    layout = store.layout
    twins = pack_rows(features[:7], ["twin"] * 7, "float32")
    write_shard(layout.shard_path(0), twins, layout.fingerprint.hash())
    path = tmp_path / "ids.txt"
    path.write_text("twin\n")
    with pytest.raises(InputError, match="several samples called twin"):
        remove(RemoveConfig((layout.root,), ids=path))
    removed(store, list(range(6)))
    assert remove(RemoveConfig((layout.root,), ids=path)).removed == 1


def test_a_store_that_lacks_shards_is_not_changed(store):
    store.layout.shard_path(1).unlink()
    with pytest.raises(InputError, match="1 of 3 shards are missing"):
        removed(store, GONE)
    assert not store.layout.history_path.exists()


def test_of_several_stores_none_is_changed_if_one_is_refused(store, tmp_path, features):
    other = store_of(tmp_path / "other", features[:10])
    config = RemoveConfig((store.layout.root, other.layout.root), rows=listed(tmp_path, [12]))
    with pytest.raises(InputError, match="names row 12"):
        remove(config)
    assert not store.layout.history_path.exists()


@pytest.mark.parametrize("given", [{}, {"ids": Path("a"), "rows": Path("b")}])
def test_ids_or_rows_are_given_and_not_both(given):
    with pytest.raises(ConfigurationError, match="exactly one"):
        remove(RemoveConfig((Path("s"),), **given))


def test_killed_at_any_step_a_store_is_as_before_or_as_after(tmp_path, features):
    rows = listed(tmp_path, GONE)
    step = 0
    while True:
        root = store_of(tmp_path / f"s{step}", features).layout.root
        config = RemoveConfig((root,), rows=rows)
        over = finishes_before_step(lambda config=config: remove(config), step)  # type: ignore[misc]
        assert read_layout(root).removed.rows.tolist() in ([], GONE)
        remove(config)
        layout = read_layout(root)
        assert layout.removed.rows.tolist() == GONE
        assert len(layout.history.changes) == 2
        assert layout.recorded_plan()["history"] == layout.history.head
        with h5py.File(layout.joined_view_path) as view:
            assert view.attrs["fingerprint"] == layout.state
        if over:
            break
        step += 1
    assert step > 8


def test_a_line_torn_by_a_crash_never_happened(store):
    path = removed(store, GONE).layout.history_path
    whole = path.read_bytes()
    append_bytes(path, whole.splitlines(keepends=True)[-1][:40])
    assert read_layout(store.layout.root).removed.rows.tolist() == GONE
    assert removed(store, [1]).layout.removed.rows.tolist() == [0, 1, *GONE[1:]]
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[0], lines[2], lines[1]],
        lambda lines: [lines[0], lines[1].replace(b'"0,5-7"', b'"0,5-6"'), lines[2]],
        lambda lines: lines[:0],
        lambda lines: [b'{"change": "begun"}\n', *lines[1:]],
        lambda lines: [b"[]\n", *lines[1:]],
        lambda lines: [*lines, b"\n"],
    ],
)
def test_a_history_that_was_altered_is_refused(store, spoil):
    path = removed(removed(store, GONE[:-1]), GONE).layout.history_path
    path.write_bytes(b"".join(spoil(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(CorruptFileError, match=r"history\.jsonl"):
        read_layout(store.layout.root)


def test_no_flipped_bit_of_a_history_and_no_cut_passes_for_one(store):
    path = removed(removed(store, GONE[:-1]), GONE).layout.history_path
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        for damaged in (flipped, whole[:place]):
            path.write_bytes(damaged)
            with pytest.raises(CorruptFileError, match=r"history\.jsonl"):
                read_layout(store.layout.root)


def test_a_plan_without_its_history_is_refused(store):
    removed(store, GONE).layout.history_path.unlink()
    with pytest.raises(CorruptFileError):
        read_layout(store.layout.root)


@pytest.mark.parametrize("rows", [[], [3], [0, 1, 2], [1, 3, 4, 9], list(range(40))])
def test_a_set_of_rows_is_read_back_from_its_text(rows):
    assert RowSet.of_text(RowSet.of(rows).text(), 40).rows.tolist() == rows


@pytest.mark.parametrize("text", ["3,1", "1-1", "1,2", "-1", "a", "40", "2-1", "0-99999999999999"])
def test_a_text_of_no_set_of_rows_is_refused(text):
    with pytest.raises(ValueError, match=r"not rows|invalid literal"):
        RowSet.of_text(text, 40)
