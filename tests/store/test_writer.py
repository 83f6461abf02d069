"""Several writers of one store: the work is shared, nothing is lost, nothing is there twice."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.quarantine import QuarantinedSample, append_quarantine, read_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.claims import claim_of
from tests.conftest import fingerprint_of_features
from tests.crashing import (
    contents,
    durable_steps,
    finishes_before_step,
    halves_of_writes,
    steps_of_claims,
)
from tests.small_jobs import written_at

SHARDS, ROWS = 5, 2


def layout_at(root: Path) -> StoreLayout:
    fingerprint = fingerprint_of_features(SHARDS * ROWS, 4, rows_per_shard=ROWS)
    return StoreLayout(root, fingerprint)


def writer_of(root: Path) -> StoreWriter:
    stores = StoreSet(root, (layout_at(root),))
    return StoreWriter(stores, redo_corrupt=False, visible=False, bad_row="holds NaN")


def rows_of(shard: int, bad: str | None = "unreadable") -> ComputedRows:
    """Two rows; the first one is bad."""
    features = np.full((ROWS, 4), shard + 1, np.float32)
    if bad is not None:
        features[0] = np.nan
    reasons = {} if bad is None else {0: bad}
    return ComputedRows(shard, features, [f"{shard}-{row}" for row in range(ROWS)], None, reasons)


def fill(writer: StoreWriter) -> list[int]:
    """Bring the store to completion; return the shards this writer wrote."""
    missing = writer.take_up()
    writer.begin()
    written, free = [], missing
    while free:
        for shard in writer.claim_free(free):
            writer.write(rows_of(shard))
            written.append(shard)
        free = writer.wait_for_others(missing)
    assert writer.settle() == SHARDS
    return written


@pytest.fixture
def alone(tmp_path):
    """The files of a store with one writer."""
    with writer_of(tmp_path / "alone") as writer:
        assert fill(writer) == list(range(SHARDS))
    return contents(tmp_path / "alone")


def test_a_store_of_one_writer_is_whole_and_leaves_no_claims(tmp_path, alone):
    assert {Path(name).name.split(".")[-1] for name in alone} == {"h5", "json", "jsonl"}
    layout = layout_at(tmp_path / "alone")
    assert [e.row for e in read_quarantine(layout.quarantine_path)] == list(range(0, 10, 2))
    assert FeatureStore.open(layout.root).usable().tolist() == [False, True] * SHARDS


def test_a_claimed_shard_is_left_to_its_holder_and_waited_for(tmp_path, alone):
    root = tmp_path / "s"
    with writer_of(root) as first, writer_of(root) as second:
        missing = first.take_up()
        first.begin()
        held = list(first.claim_free([0, 3]))
        assert list(second.claim_free(missing)) == [1, 2, 4]
        for shard in (4, 2, 1):
            second.write(rows_of(shard))
        threading.Timer(0.5, lambda: list(map(first.write, map(rows_of, held)))).start()
        seen: list[list[int]] = []
        assert second.wait_for_others(missing, seen.append) == []
        assert seen[0] == [0, 3]
        second.settle()
        first.settle()
    assert contents(root) == alone


def test_a_shard_given_up_by_its_holder_comes_back_from_waiting(tmp_path):
    with writer_of(tmp_path / "s") as first, writer_of(tmp_path / "s") as second:
        missing = first.take_up()
        first.begin()
        assert list(first.claim_free(missing)) == missing
        assert list(second.claim_free(missing)) == []
        claim_of(layout_at(tmp_path / "s").shard_path(2)).unlink()
        assert second.wait_for_others(missing) == [2]


def test_a_shard_written_twice_is_noted_once(tmp_path, alone):
    """As by a writer that was thought dead and was not."""
    root = tmp_path / "s"
    with writer_of(root) as writer:
        writer.take_up()
        writer.begin()
        for shard in (*range(SHARDS), 1):
            writer.stores.layouts[0].shard_path(shard).unlink(missing_ok=True)
            writer.write(rows_of(shard))
        writer.settle()
    assert contents(root) == alone


class Killed(BaseException):
    """Ends a writer at once."""


def test_a_row_noted_again_by_a_writer_that_slept_while_others_finished_is_noted_once(
    tmp_path, alone, monkeypatch
):
    root = tmp_path / "s"

    def sleeps_before_it_notes(ledger: Path, bad: list[QuarantinedSample]) -> None:
        monkeypatch.undo()
        for held in (ledger, layout_at(root).shard_path(0)):
            claim_of(held).unlink()  # as if they had been untouched for too long
        with writer_of(root) as other:
            fill(other)
        append_quarantine(ledger, bad)
        raise Killed

    monkeypatch.setattr("dtrak_stream.store.writer.append_quarantine", sleeps_before_it_notes)
    with pytest.raises(Killed), writer_of(root) as late:
        fill(late)
    assert contents(root) != alone
    with writer_of(root) as following:
        assert fill(following) == []
    assert contents(root) == alone


def test_what_was_noted_of_a_row_that_turned_out_well_goes(tmp_path):
    root = tmp_path / "s"
    with writer_of(root) as writer:
        writer.take_up()
        writer.begin()
        writer.write(rows_of(0, bad="the disk was away"))
        writer.stores.layouts[0].shard_path(0).unlink()  # as if it had been killed before this
        for shard in range(SHARDS):
            writer.write(rows_of(shard, bad=None))
        assert writer.settle() == 0
    assert read_quarantine(layout_at(root).quarantine_path) == []


@pytest.mark.parametrize(
    ("of", "steps"),
    [(durable_steps, 3 * SHARDS), (steps_of_claims, 6 * SHARDS), (halves_of_writes, 2 * SHARDS)],
)
def test_a_writer_killed_at_any_step_is_made_up_for(tmp_path, alone, impatient, of, steps):
    def work(root: Path) -> None:
        with writer_of(root) as writer:
            fill(writer)

    step = 0
    while True:
        root = tmp_path / str(step)
        over = finishes_before_step(lambda r=root: work(r), step, of)  # type: ignore[misc]
        work(root)
        assert contents(root) == alone
        if over:
            break
        step += 1
    assert step > steps


def test_every_file_of_a_store_is_on_disk_with_its_name(tmp_path, monkeypatch):
    sync, lengths = os.fsync, dict[int, int]()

    def noted(descriptor: int) -> None:
        sync(descriptor)
        found = os.fstat(descriptor)
        lengths[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fsync", noted)
    with writer_of(tmp_path / "s") as writer:
        fill(writer)
    files = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert len(files) == SHARDS + 3  # plan, ledger, joined view
    for path in files:
        assert lengths[path.stat().st_ino] == path.stat().st_size, path
        assert path.parent.stat().st_ino in lengths


def test_the_ledger_is_in_the_order_of_rows_whatever_the_order_of_shards(tmp_path):
    root = tmp_path / "s"
    with writer_of(root) as writer:
        writer.take_up()
        writer.begin()
        for shard in (3, 1, 4, 0, 2):
            rows = rows_of(shard)
            rows.features[1] = np.inf  # bad as well, for no reason that was given
            writer.write(rows)
        assert [entry.row for entry in ledger_of(root)] == [6, 7, 2, 3, 8, 9, 0, 1, 4, 5]
        assert writer.settle() == SHARDS * ROWS
    assert [(entry.row, entry.sample_id, entry.reason) for entry in ledger_of(root)] == [
        (shard * ROWS + row, f"{shard}-{row}", reason)
        for shard in range(SHARDS)
        for row, reason in enumerate(("unreadable", "holds NaN"))
    ]


def ledger_of(root: Path) -> list[QuarantinedSample]:
    return read_quarantine(layout_at(root).quarantine_path)


def test_a_finished_store_is_settled_without_writing_anything(tmp_path, alone):
    root = tmp_path / "alone"
    before = written_at(root)
    with writer_of(root) as writer:
        assert writer.take_up() == []
        writer.begin()
        assert writer.settle() == SHARDS
    assert written_at(root) == before
    assert contents(root) == alone


def test_a_damaged_shard_is_refused_or_made_again_as_the_writer_was_told(tmp_path, alone):
    root = tmp_path / "alone"
    stores = StoreSet(root, (layout_at(root),))
    shard = layout_at(root).shard_path(2)
    shard.write_bytes(b"torn")
    with writer_of(root) as strict, pytest.raises(CorruptFileError, match=r"00000002\.h5"):
        strict.take_up()
    with StoreWriter(stores, redo_corrupt=True, visible=False, bad_row="holds NaN") as writer:
        assert writer.take_up(lambda _: True) == []  # known to be whole: not read
        assert writer.take_up() == [2]
        assert not shard.exists()
        writer.begin()
        writer.write(rows_of(2))
        writer.settle()
    assert contents(root) == alone


@pytest.mark.parametrize(
    ("dtype", "rounding"), [("float16", 2.0**-10), ("float32", 0), ("int8", 2.0**-7)]
)
def test_a_shard_is_written_in_the_type_of_its_store_with_what_belongs_to_its_rows(
    tmp_path, dtype, rounding
):
    fingerprint = dataclasses.replace(
        fingerprint_of_features(2, 4, rows_per_shard=2, dtype=dtype),
        timestep_weights="unit-gradient",
    )
    stores = StoreSet.of(tmp_path / "s", (fingerprint,))
    features = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    residual = np.array([3, 0.1], np.float32)
    with StoreWriter(stores, redo_corrupt=False, visible=False, bad_row="holds NaN") as writer:
        writer.take_up()
        writer.begin()
        writer.write(ComputedRows(0, features, ["a", "bcd"], residual))
        writer.settle()
    store = FeatureStore.open(tmp_path / "s")
    assert store.shard(0).features.dtype == dtype
    largest = np.abs(features).max()
    assert np.allclose(store.rows(range(2)), features, rtol=rounding, atol=rounding * largest)
    assert np.array_equal(store.residuals(), residual)
    assert store.ids[:] == [b"a", b"bcd"]


def test_a_run_record_is_changed_by_one_writer_at_a_time(tmp_path):
    root = tmp_path / "s"
    with writer_of(root) as writer:
        writer.take_up()
        writer.begin()

    def add(number: int) -> None:
        with writer_of(root) as one, one.run_record() as record:
            record[str(number)] = len(record)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(layout_at(root).run_record().values()) == list(range(6))
    assert not claim_of(layout_at(root).plan_path).exists()
