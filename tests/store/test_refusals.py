"""What is no store, another store, damaged or too large is refused in words that say what to do."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dtrak_stream.errors import (
    CorruptFileError,
    DiskFullError,
    DtrakStreamError,
    FingerprintMismatchError,
    InputError,
    MemoryLimitError,
)
from dtrak_stream.store import room
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import corrupt_shard
from dtrak_stream.store.store_set import StoreSet, store_roots
from dtrak_stream.store.taking_up import damaged_shards, refuse_other_store
from dtrak_stream.support.memory import format_size
from tests.conftest import fingerprint_of_features

FEATURES = np.ones((20, 64), np.float32)


def layout_at(root, **changes):
    fingerprint = fingerprint_of_features(20, 64)
    return StoreLayout(root, dataclasses.replace(fingerprint, **changes))


def refused(kind: type[DtrakStreamError], text: str, act) -> None:
    with pytest.raises(kind) as refusal:
        act()
    assert str(refusal.value) == text


def test_a_folder_without_a_plan_is_no_store(tmp_path):
    text = f"{tmp_path}: not a feature store (no store.json); give a folder that dtrak-stream "
    refused(InputError, text + "featurize wrote", lambda: read_layout(tmp_path))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "list indices must be integers or slices, not str"),
        ("{}", "'format_version'"),
        ('{"format_version": 1}', "'fingerprint'"),
    ],
)
def test_a_plan_that_cannot_be_read_is_named_with_the_reason(tmp_path, content, why):
    path = tmp_path / "store.json"
    path.write_text(content)
    text = f"{path}: not readable ({why}); featurize into another --store"
    refused(CorruptFileError, text, lambda: read_layout(tmp_path))


def test_a_store_that_is_not_complete_says_how_far_it_is(make_store):
    root = make_store("s", FEATURES).layout.root
    (root / "shards" / "00000001.h5").unlink()
    text = f"{root}: 1 of 3 shards are missing; run the featurize command again to finish it"
    refused(InputError, text, lambda: FeatureStore.open(root))


def test_another_format_is_named_beside_ours(make_store):
    layout = make_store("s", FEATURES).layout
    plan = layout.plan()
    layout.plan_path.write_text(json.dumps({**plan, "format_version": 99}))
    text = (
        f"{layout.plan_path}: written in format 99, "
        f"this version reads {plan['format_version']} and 2; "
        "featurize again, or use the version of dtrak_stream that wrote it"
    )
    refused(InputError, text, lambda: read_layout(layout.root))


def test_what_lies_where_a_store_is_to_be_made_is_refused(tmp_path):
    remedy = "give a new or empty folder as --store (or --run)"
    (tmp_path / "file").write_text("precious")
    in_the_way, full = layout_at(tmp_path / "file"), layout_at(tmp_path)
    text = f"{tmp_path / 'file'}: not a folder; {remedy}"
    refused(InputError, text, lambda: refuse_other_store(in_the_way))
    text = f"{tmp_path}: not empty and not a feature store; {remedy}"
    refused(InputError, text, lambda: refuse_other_store(full))
    refuse_other_store(layout_at(tmp_path / "new"))


def test_a_store_begun_otherwise_is_refused_with_both_values(make_store):
    layout = make_store("s", FEATURES).layout
    refuse_other_store(layout)
    other = StoreLayout(layout.root, dataclasses.replace(layout.fingerprint, seed=3))
    with pytest.raises(FingerprintMismatchError) as refusal:
        refuse_other_store(other)
    assert str(refusal.value).startswith(f"{layout.root}: seed differs: stored 0, requested 3")
    assert refusal.value.remedy == (
        "give the options the store was begun with, or another --store (or --run)"
    )


def test_a_root_of_several_stores_holds_nothing_else(tmp_path):
    root = tmp_path / "s"
    stores = StoreSet.of(root, (layout_at(root).fingerprint,) * 2)
    assert [layout.root.name for layout in stores.layouts] == ["probe-000", "probe-001"]
    remedy = "give a new or empty folder as --store"
    stores.refuse_foreign_root()
    root.write_text("precious")
    refused(InputError, f"{root}: not a folder; {remedy}", stores.refuse_foreign_root)
    root.unlink()
    (root / "probe-000").mkdir(parents=True)
    stores.refuse_foreign_root()
    for name in ("z.txt", "b.txt"):
        (root / name).write_text("precious")
    text = f"{root}: holds b.txt, which is none of its 2 probes; {remedy}"
    refused(InputError, text, stores.refuse_foreign_root)
    StoreSet.of(root, (layout_at(root).fingerprint,)).refuse_foreign_root()


def test_probes_are_the_stores_of_a_root_that_is_none_itself(tmp_path):
    assert store_roots(tmp_path) == (tmp_path,)
    for number in (2, 0, 1):
        (tmp_path / f"probe-00{number}").mkdir()
    assert store_roots(tmp_path) == tuple(tmp_path / f"probe-00{number}" for number in range(3))
    (tmp_path / "store.json").touch()
    assert store_roots(tmp_path) == (tmp_path,)


def test_a_damaged_shard_is_named_with_the_option_that_makes_it_again(tmp_path):
    error = corrupt_shard(tmp_path / "x.h5", "is torn")
    assert str(error) == (
        f"{tmp_path / 'x.h5'}: is torn; run the same command with --redo-corrupt to make this "
        "shard again"
    )


def test_damaged_shards_are_found_among_those_that_are_there(make_store):
    layout = make_store("s", FEATURES).layout
    layout.shard_path(0).unlink()
    assert list(damaged_shards(layout, False, visible=False)) == []
    layout.shard_path(2).write_bytes(b"torn")
    assert list(damaged_shards(layout, True, visible=False)) == [2]
    with pytest.raises(CorruptFileError, match=r"00000002\.h5"):
        list(damaged_shards(layout, False, visible=False))


def test_a_store_without_room_on_disk_is_refused(tmp_path, monkeypatch):
    layouts = [layout_at(tmp_path / name) for name in "ab"]
    needed = 2 * room.bytes_on_disk(layouts[0].fingerprint, 3)
    monkeypatch.setattr(room, "_free_bytes", lambda _: needed)
    room.refuse_what_cannot_fit(layouts, "store", shard_bytes=1)
    monkeypatch.setattr(room, "_free_bytes", lambda _: needed - 1)
    sizes = f"store: {format_size(needed)} are needed and {format_size(needed - 1)} are "
    text = sizes + "free; free some space, or lower --proj-dim or --limit"
    refused(
        DiskFullError, text, lambda: room.refuse_what_cannot_fit(layouts, "store", shard_bytes=1)
    )


def test_a_shard_without_room_in_memory_is_refused(tmp_path, monkeypatch):
    layout = layout_at(tmp_path / "s")
    monkeypatch.setattr(room, "usable_memory", lambda: 2**20)
    room.refuse_what_cannot_fit([layout], "store", shard_bytes=2**20)
    text = (
        "--rows-per-shard 7: a shard of 7 rows needs 2.0 MiB of memory, 1.0 MiB are there; "
        "make it smaller"
    )
    advice = room.RoomAdvice(memory="make it smaller")

    def ask(shard_bytes=2**21):
        room.refuse_what_cannot_fit([layout], "store", shard_bytes=shard_bytes, advice=advice)

    refused(MemoryLimitError, text, ask)


def test_a_complete_store_needs_no_memory_for_a_shard(make_store, monkeypatch):
    layout = make_store("s", FEATURES).layout
    monkeypatch.setattr(room, "usable_memory", lambda: 0)
    room.refuse_what_cannot_fit([layout], "store", shard_bytes=1)


def test_a_shard_in_memory_counts_all_stores_while_it_is_computed():
    fingerprint = fingerprint_of_features(20, 64)
    one, three = (room.shard_memory(fingerprint, stores) for stores in (1, 3))
    assert one == room.bytes_while_written(fingerprint) + 7 * 64 * 4
    assert three - one == 4 * 7 * 64 * 4
