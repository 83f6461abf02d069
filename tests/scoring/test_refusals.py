"""What scoring refuses, before it computes anything, and what it says about it."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections import namedtuple

import h5py
import numpy as np
import pytest

import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    DiskFullError,
    FingerprintMismatchError,
    InputError,
    MemoryLimitError,
)
from dtrak_stream.objective.function_names import LOSSES, PREDICTIONS
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.durable import write_json
from tests.conftest import store_of
from tests.scoring.conftest import attribution_of, whole_numbers

Usage = namedtuple("Usage", "total used free")


def assert_nothing_was_done(run):
    assert not list(run.folder.glob("scores*"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "another model"),
        ("weights", "another checkpoint"),
        ("parameters", "another choice"),
        ("num_parameters", 99),
        ("output_function", "simple"),
        ("timesteps", (0, 250, 500)),
        ("noise_keying", "per-sample"),
        ("noise_draws", 2),
        ("seed", 1),
        ("projector", "normal"),
        ("projector_version", 2),
        ("proj_dim", 128),
        ("image_shape", "3x8x8"),
    ],
)
def test_queries_featurized_otherwise_are_refused_naming_field_and_values(small, field, value):
    original = small.query.fingerprint
    layout = StoreLayout(small.query.layout.root, dataclasses.replace(original, **{field: value}))
    write_json(layout.plan_path, layout.plan())
    with pytest.raises(FingerprintMismatchError) as refusal:
        small.score()
    assert refusal.value.field == field
    stored = getattr(original, field)
    assert f"query: {field} differs: stored {stored!r}, requested {value!r}" in str(refusal.value)
    assert_nothing_was_done(small)


def test_a_gram_of_another_store_is_refused(small):
    other = store_of(small.folder / "other", whole_numbers(24, 64, 5), images="other")
    run = dataclasses.replace(small, train=other)
    with pytest.raises(FingerprintMismatchError) as refusal:
        run.score()
    for part in ("gram.h5", small.train.fingerprint.hash(), other.fingerprint.hash()):
        assert part in str(refusal.value)
    assert_nothing_was_done(small)


def test_a_missing_gram_is_refused(small):
    small.gram.unlink()
    with pytest.raises(InputError, match=r"gram\.h5: no such file; run dtrak-stream gram first"):
        small.score()
    assert_nothing_was_done(small)


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_truncated_gram_is_refused(small, share):
    content = small.gram.read_bytes()
    small.gram.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        CorruptFileError, match=r"gram\.h5: cannot be read.*dtrak-stream gram again"
    ):
        small.score()
    assert_nothing_was_done(small)


@pytest.mark.parametrize("name", ["train", "query"])
def test_a_store_that_is_missing_is_refused(small, name):
    shutil.rmtree(small.folder / name)
    with pytest.raises(InputError, match=f"{name}: not a feature store"):
        small.score()


@pytest.mark.parametrize("name", ["train", "query"])
@pytest.mark.parametrize("size", [0, 100, -100])
def test_a_truncated_shard_is_refused(small, name, size):
    path = getattr(small, name).layout.shard_path(0)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptFileError, match=rf"{name}/shards/00000000\.h5.*--redo-corrupt"):
        small.score()
    assert_nothing_was_done(small)


@pytest.mark.parametrize("name", ["train", "query"])
@pytest.mark.parametrize("dataset", ["features", "scale"])
def test_a_shard_with_a_flipped_bit_is_refused(small, name, dataset):
    path = getattr(small, name).layout.shard_path(0)
    with h5py.File(path) as file:
        place = file[dataset].id.get_offset()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=rf"{name}/shards/00000000\.h5: contents do not"):
        small.score()
    assert not small.out.exists()


@pytest.mark.parametrize(
    ("method", "output_function", "takes", "remedy"),
    [
        ("trak", "square", ", ".join(LOSSES), "--output-function simple"),
        ("d-trak", "simple", f"{', '.join(PREDICTIONS)}, interpolation", "function square"),
    ],
)
def test_features_that_the_method_does_not_take_are_refused(
    tmp_path, method, output_function, takes, remedy
):
    features = whole_numbers(10, 64)
    run = attribution_of(tmp_path, features, features, output_function=output_function)
    with pytest.raises(ConfigurationError) as refusal:
        run.score(method=method)
    for part in (f"--method {method}", takes, f"not of {output_function}", remedy):
        assert part in str(refusal.value)
    assert_nothing_was_done(run)


def test_an_unknown_method_is_refused(small):
    with pytest.raises(ConfigurationError, match=r"--method magic: unknown.*trak, d-trak"):
        small.score(method="magic")
    assert_nothing_was_done(small)


@pytest.mark.parametrize("top_k", [0, -1])
def test_lists_without_room_for_one_sample_are_refused(small, top_k):
    with pytest.raises(ConfigurationError, match=f"--top-k {top_k}: must be at least 1"):
        small.score(top_k=top_k)
    assert_nothing_was_done(small)


@pytest.mark.parametrize("damping", ["much", "-1", "abs:", "nan"])
def test_an_impossible_damping_is_refused(small, damping):
    with pytest.raises(ConfigurationError, match=f"--damping {damping}: not a damping"):
        small.score(damping=damping)
    assert not small.out.exists()


def test_no_damping_for_a_singular_gram_is_refused(tmp_path):
    run = attribution_of(tmp_path, whole_numbers(24, 64), whole_numbers(2, 64, 1), form="primal")
    with pytest.raises(ConfigurationError, match=r"damping 0 .*singular.*--damping auto"):
        run.score(damping="0")
    assert not run.out.exists()


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0, "features of all 9 samples are zero"), (np.nan, "none of its 9 samples has a feature")],
)
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_features_without_any_gradient_are_refused(tmp_path, value, told, form):
    nothing = np.full((9, 64), value, np.float32)
    run = attribution_of(tmp_path, nothing, whole_numbers(2, 64), form=form)
    with pytest.raises(ConfigurationError, match=told):
        run.score()
    assert not run.out.exists()


def test_a_memory_limit_that_is_too_small_is_refused_with_one_that_is_enough(small):
    with pytest.raises(MemoryLimitError) as refusal:
        small.score(memory_limit="10KiB")
    assert "--memory-limit 10.0 KiB: scoring with a 24 x 24 Gram matrix" in str(refusal.value)
    assert_nothing_was_done(small)
    found = re.search(r"allow at least (\S+),", str(refusal.value))
    assert found is not None
    assert small.score(memory_limit=found[1]).computed == 5  # one query at a time


def test_longer_lists_need_more_memory(small):
    needed = [int(small.smallest_limit(1, top_k=top_k)) for top_k in (1, 11, 24, 1000)]
    assert needed[0] < needed[1] < needed[2] == needed[3]


def test_a_memory_limit_that_is_no_size_is_refused(small):
    with pytest.raises(ConfigurationError, match="--memory-limit lots: not a size"):
        small.score(memory_limit="lots")


class Disk:
    """A file system with so many bytes free."""

    def __init__(self, monkeypatch):
        self.free = 0
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, self.free))


def test_a_disk_without_room_is_refused_before_anything_is_scored(small, monkeypatch):
    disk = Disk(monkeypatch)
    # scores and lists, twice: in the blocks and in the file
    needed = 2 * (4 * 5 * 24 + 24 * 5 * 10)
    disk.free = needed - 1
    with pytest.raises(DiskFullError, match=r"scores\.h5: 3\.3 KiB are needed and 3\.3 KiB are"):
        small.score(top_k=10)
    assert not small.out.exists()
    assert not list(small.parts.glob("*.safetensors"))
    disk.free = needed
    assert small.score(top_k=10).computed == 1


def test_lists_alone_need_less_room(small, monkeypatch):
    Disk(monkeypatch).free = 2 * 24 * 5 * 10
    with pytest.raises(DiskFullError, match="--save-scores no"):
        small.score(top_k=10, save_scores="yes")
    assert small.score(top_k=10, save_scores="no").computed == 1


def test_blocks_that_are_kept_need_no_more_room(small, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 14)
    small.interrupt(monkeypatch, after=1, top_k=10)
    scores, lists = 4 * 5 * 24, 24 * 5 * 10
    Disk(monkeypatch).free = scores + lists + (scores + 2 * lists) // 2
    assert small.score(top_k=10).computed == 1


def test_a_store_that_is_not_finished_is_refused(small):
    small.train.layout.shard_path(2).unlink()
    with pytest.raises(InputError, match="1 of 4 shards are missing"):
        small.score()
    with pytest.raises(InputError):
        FeatureStore.open(small.train.layout.root)
