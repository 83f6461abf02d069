"""Checkpoints: kept, checked, and never taken from another plan."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.support.checkpoints import Checkpoints
from tests.crashing import contents

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2])}


def open_for(tmp_path, plan=None):
    return Checkpoints.beside(tmp_path / "result.h5", plan or {"size": 3})


def test_arrays_come_back_as_they_were(tmp_path):
    open_for(tmp_path).save("part", **ARRAYS)
    kept = open_for(tmp_path).load("part")
    assert kept is not None
    assert set(kept) == {"a", "b"}
    assert all(np.array_equal(kept[name], ARRAYS[name]) for name in ARRAYS)
    assert open_for(tmp_path).names() == {"part"}


@pytest.mark.parametrize(
    "array",
    [np.array(2.5), np.zeros((0, 3)), np.arange(6.0).reshape(2, 3).T, np.arange(9)[::-2] > 4],
    ids=["scalar", "empty", "transposed", "stepped"],
)
def test_an_array_may_lie_in_memory_in_any_way(tmp_path, array):
    open_for(tmp_path).save("part", array=array)
    kept = open_for(tmp_path).load("part")["array"]
    assert (kept.dtype, kept.shape) == (array.dtype, array.shape)
    assert np.array_equal(kept, array)
    kept += kept  # sums go on in what was kept


@pytest.mark.parametrize("name", ["part.npz", "part.safetensors", "notes.txt"])
def test_a_folder_with_files_of_somebody_else_is_refused_and_kept(tmp_path, name):
    checkpoints = open_for(tmp_path)
    checkpoints.save("part", **ARRAYS)
    (checkpoints.folder / name).write_text("precious")
    before = contents(tmp_path)
    for call in (
        lambda: open_for(tmp_path),
        lambda: Checkpoints.discard_leftovers(tmp_path / "result.h5", {}),
    ):
        with pytest.raises(InputError, match=f"unfinished work is kept there, and it holds {name}"):
            call()
    assert contents(tmp_path) == before


def test_what_was_not_kept_is_none(tmp_path):
    assert open_for(tmp_path).load("part") is None


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_checkpoint_is_dropped(tmp_path, damage):
    checkpoints = open_for(tmp_path)
    checkpoints.save("part", **ARRAYS)
    (path,) = checkpoints.folder.glob("part.*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-5])
    assert checkpoints.load("part") is None
    assert checkpoints.names() == set()


def test_no_flipped_bit_of_a_checkpoint_and_no_cut_is_read_as_numbers(tmp_path, capsys):
    open_for(tmp_path).save("part", a=np.arange(3.0))
    (path,) = (tmp_path / "result.h5.parts").glob("part.*")
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        for damaged in (flipped, whole[:place]):
            path.write_bytes(damaged)
            assert open_for(tmp_path).damaged() == [path]
            assert open_for(tmp_path).load("part") is None
            assert f"{path}: damaged, computing it again" in capsys.readouterr().err
            assert not path.exists()
    path.write_bytes(whole)
    assert open_for(tmp_path).damaged() == []


def test_another_plan_starts_over(tmp_path):
    open_for(tmp_path, {"size": 3}).save("part", **ARRAYS)
    assert open_for(tmp_path, {"size": 4}).names() == set()


def test_discard_removes_everything(tmp_path):
    checkpoints = open_for(tmp_path)
    checkpoints.save("part", **ARRAYS)
    checkpoints.discard()
    assert list(tmp_path.iterdir()) == []


def test_drop_removes_one(tmp_path):
    checkpoints = open_for(tmp_path)
    checkpoints.save("one", **ARRAYS)
    checkpoints.save("two", **ARRAYS)
    checkpoints.drop("one")
    assert checkpoints.names() == {"two"}


def test_what_lost_its_plan_is_not_taken_for_the_work_of_any_plan(tmp_path):
    open_for(tmp_path).save("part", **ARRAYS)
    (tmp_path / "result.h5.parts" / "plan.json").unlink()
    assert open_for(tmp_path).names() == set()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null"])
def test_a_damaged_plan_starts_over(tmp_path, content):
    open_for(tmp_path).save("part", **ARRAYS)
    (tmp_path / "result.h5.parts" / "plan.json").write_bytes(content)
    assert open_for(tmp_path).names() == set()


def test_a_plan_is_the_same_after_it_was_on_disk(tmp_path):
    open_for(tmp_path, {"sizes": (1, 2)}).save("part", **ARRAYS)
    assert open_for(tmp_path, {"sizes": (1, 2)}).names() == {"part"}


@pytest.mark.parametrize(
    ("identity", "left"), [({"size": 3}, False), ({}, False), ({"size": 4}, True)]
)
def test_leftovers_of_a_finished_result_are_removed_and_no_others(tmp_path, identity, left):
    open_for(tmp_path, {"size": 3, "cut": 7}).save("part", **ARRAYS)
    Checkpoints.discard_leftovers(tmp_path / "result.h5", identity)
    assert (tmp_path / "result.h5.parts").exists() == left


def test_no_leftovers_are_no_problem(tmp_path):
    Checkpoints.discard_leftovers(tmp_path / "result.h5", {"size": 3})
    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_and_is_damaged_is_refused_where_it_is_required(tmp_path):
    checkpoints = Checkpoints.beside(tmp_path / "result", {})
    checkpoints.save("part", values=np.arange(3))
    told = {"what": "a part", "remedy": "it makes that part anew"}
    assert checkpoints.require("part", **told)["values"].tolist() == [0, 1, 2]
    (kept,) = checkpoints.folder.glob("part.*")
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"a part \(part\) was damaged .*that part anew"):
        checkpoints.require("part", **told)
