"""Scoring that is killed, interrupted, repeated or damaged: never a wrong file, no lost work."""

from __future__ import annotations

import shutil
from functools import partial

import h5py
import numpy as np
import pytest

import dtrak_stream.scoring.plan as plan_module
import dtrak_stream.scoring.run as run_module
from dtrak_stream.errors import (
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
)
from dtrak_stream.gram.file import Gram
from dtrak_stream.scoring.writer import write_scores
from dtrak_stream.store import reader as reader_module
from dtrak_stream.store.alike_shards import AlikeShards
from tests.crashing import contents, finishes_before_step, halves_of_writes, steps_of_claims
from tests.scoring.conftest import (
    attributes,
    attribution_of,
    read,
    whole_numbers,
)

TRAIN, QUERY = whole_numbers(24, 64), whole_numbers(5, 64, 1)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Stores that are scored in two blocks of training samples."""
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 14)
    return attribution_of(tmp_path, TRAIN, QUERY)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(run):
    options = {"memory_limit": run.smallest_limit(2)}
    whole = run.score(run.folder / "whole" / "scores.h5", **options)
    assert whole.computed == 4
    step, finished = 0, False
    while not finished:
        out = run.folder / f"killed-at-{step}" / "scores.h5"
        finished = finishes_before_step(partial(run.score, out, **options), step)
        blocks = len(list(out.parent.glob("scores.h5.parts/part-*.safetensors")))
        to_do = 0 if out.exists() else 4 - blocks
        assert run.score(out, **options).computed == to_do
        assert out.read_bytes() == whole.path.read_bytes()
        assert set(contents(out.parent)) == {"scores.h5", "scores.config.yaml"}
        step += not finished
    assert step == 3 * (1 + 1 + 1 + 4 + 1)  # the record, the plan, the kernel, the blocks, the file


@pytest.mark.parametrize(("of", "steps"), [(steps_of_claims, 6), (halves_of_writes, 12)])
def test_a_kill_amid_a_claim_or_a_write_and_a_restart_give_the_same_bytes(
    run, impatient, of, steps
):
    whole, step, over = run.score(run.folder / "whole" / "scores.h5").path.read_bytes(), 0, False
    while not over:
        out = run.folder / f"killed-at-{step}" / "scores.h5"
        over = finishes_before_step(partial(run.score, out), step, of)
        run.score(out)
        assert out.read_bytes() == whole
        assert set(contents(out.parent)) == {"scores.h5", "scores.config.yaml"}
        step += not over
    assert step >= steps


def test_ctrl_c_keeps_what_is_scored_and_says_where(run, monkeypatch):
    options = {"memory_limit": run.smallest_limit(2)}
    expected = run.score(run.folder / "whole.h5", **options).path.read_bytes()
    stop = run.interrupt(monkeypatch, after=3, **options)
    assert isinstance(stop, InterruptedRunError)
    assert str(run.parts) in str(stop)
    assert not run.out.exists()
    assert run.score(**options).computed == 1
    assert run.out.read_bytes() == expected
    assert not run.parts.exists()


def test_any_other_failure_keeps_what_is_scored_too(run, monkeypatch):
    run.interrupt(monkeypatch, after=1, error=OSError)
    assert run.score().computed == 1


def test_a_finished_file_is_not_computed_again(run):
    assert run.score(top_k=5).computed == 2
    before = run.out.stat()
    assert run.score(top_k=5).computed == 0
    after = run.out.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "options", [{"damping": "0.3"}, {"transform": "square"}, {"top_k": 7}, {"save_scores": "no"}]
)
def test_a_file_made_with_other_options_is_replaced(run, options, capsys):
    run.score()
    assert run.score(**options).computed == 2
    for name, value in options.items():
        name, value = ("has_all_scores", False) if name == "save_scores" else (name, value)
        assert attributes(run.out)[name] == value
        assert f"was made with {name}" in capsys.readouterr().err
    assert run.score(**options).computed == 0


def test_a_file_made_of_other_queries_is_refused_and_kept(run):
    run.score(damping="abs:300")
    before = run.out.read_bytes()
    other = attribution_of(run.folder / "other", TRAIN, QUERY[::-1][:3])
    shutil.rmtree(run.query.layout.root)
    shutil.move(other.query.layout.root, run.query.layout.root)
    with pytest.raises(FingerprintMismatchError, match="query_fingerprint differs"):
        run.score(damping="abs:300")
    assert run.out.read_bytes() == before


def test_the_old_file_stays_until_the_new_one_is_finished(run, monkeypatch):
    run.score(top_k=3)
    old = run.out.read_bytes()
    run.interrupt(monkeypatch, after=1, top_k=4)
    assert run.out.read_bytes() == old
    run.score(top_k=4)
    assert attributes(run.out)["top_k"] == 4


def forbidden(*_arguments: object, **_options: object) -> None:
    raise AssertionError("this is not to be read")


def test_a_finished_file_is_enough_to_know_that_all_is_done(run, monkeypatch):
    """Neither features nor sample ids nor the Gram matrix are read to find that out."""
    first = run.score()
    monkeypatch.setattr(reader_module, "read_shard", forbidden)
    monkeypatch.setattr(AlikeShards, "open", forbidden)
    monkeypatch.setattr(Gram, "rows", forbidden)
    monkeypatch.setattr(Gram, "blocks", forbidden)
    again = run.score()
    assert (again.computed, again.quarantined) == (0, first.quarantined)
    with pytest.raises(AssertionError, match="not to be read"):
        run.score(damping="0.7")


def test_scores_of_products_that_were_cut_are_made_again(run):
    run.score()
    with h5py.File(run.out, "r+") as file:
        file.attrs["tf32"] = True
    assert run.score().computed > 0
    with h5py.File(run.out, "r+") as file:
        del file.attrs["tf32"]  # as files that were written before it was told
    assert run.score().computed == 0


def test_quarantined_samples_are_counted_when_nothing_is_left_to_do(tmp_path):
    train, query = TRAIN.copy(), QUERY.copy()
    train[3], query[1] = np.nan, np.nan
    run = attribution_of(tmp_path, train, query)
    assert [run.score().quarantined for _ in range(2)] == [2, 2]


@pytest.mark.parametrize("content", [b"", b"not HDF5", None])
def test_a_file_that_cannot_be_read_is_refused_and_kept(run, content):
    expected = run.score(run.folder / "whole.h5").path.read_bytes()
    run.out.write_bytes(expected[: len(expected) // 2] if content is None else content)
    before = run.out.read_bytes()
    with pytest.raises(InputError, match=r"not a scores file .* left as it is: move it away"):
        run.score()
    assert run.out.read_bytes() == before


def test_unfinished_blocks_of_other_options_are_thrown_away(run, monkeypatch, capsys):
    expected = run.score(run.folder / "whole.h5", damping="0.1").path.read_bytes()
    run.interrupt(monkeypatch, after=1, damping="0.3")
    assert run.score(damping="0.1").computed == 2
    assert "left by a run with other options" in capsys.readouterr().err
    assert run.out.read_bytes() == expected


@pytest.mark.parametrize("save_scores", ["yes", "no"])
def test_unfinished_blocks_of_another_size_are_thrown_away(run, monkeypatch, save_scores):
    """Five queries make two blocks of three and two, and under a larger limit of four and one."""
    options = {"save_scores": save_scores, "damping": "abs:300"}
    smaller = run.smallest_limit(2, **options)
    larger = str(int(run.smallest_limit(1, **options)) - 1)
    whole = read(run.score(run.folder / "whole.h5", memory_limit=larger, **options).path)
    run.interrupt(monkeypatch, after=3, memory_limit=smaller, **options)
    assert run.score(memory_limit=larger, **options).computed == 4
    assert all(np.array_equal(array, whole[name]) for name, array in read(run.out).items())


def test_blocks_that_lost_their_plan_are_thrown_away(run, monkeypatch):
    """Removing finished blocks may be cut short by a crash."""
    expected = run.score(run.folder / "whole.h5", damping="0.1").path.read_bytes()
    run.interrupt(monkeypatch, after=1, damping="0.3")
    (run.parts / "plan.json").unlink()
    assert run.score(damping="0.1").computed == 2
    assert run.out.read_bytes() == expected


def test_a_finished_file_leaves_unfinished_blocks_of_other_options_alone(run, monkeypatch):
    run.score(damping="0.1")
    run.interrupt(monkeypatch, after=1, damping="0.3")
    run.score(damping="0.3")
    finished = run.out.read_bytes()
    run.interrupt(monkeypatch, after=1, damping="0.1")
    assert run.score(damping="0.3").computed == 0
    assert run.out.read_bytes() == finished
    assert run.score(damping="0.1").computed == 1


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_block_is_scored_again(run, monkeypatch, cut):
    options = {"memory_limit": run.smallest_limit(2)}
    expected = run.score(run.folder / "whole.h5", **options).path.read_bytes()
    run.interrupt(monkeypatch, after=3, **options)
    if cut:
        run.kept()[1].write_bytes(run.kept()[1].read_bytes()[:-9])
    else:
        damage(run.kept()[1])
    assert run.score(**options).computed == 2
    assert run.out.read_bytes() == expected


def test_a_block_damaged_after_it_was_scored_is_refused_and_then_scored_again(run, monkeypatch):
    expected = run.score(run.folder / "whole.h5").path.read_bytes()
    write = write_scores

    def damaged_write(*arguments):
        damage(run.kept()[0])
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_scores", damaged_write)
        with pytest.raises(CorruptFileError, match=r"part-000000-000000.*run the same command"):
            run.score()
    assert not run.out.exists()
    assert run.score().computed == 1
    assert run.out.read_bytes() == expected


def test_a_half_written_file_of_a_crash_is_no_obstacle(run):
    expected = run.score(run.folder / "whole.h5").path.read_bytes()
    with h5py.File(run.folder / "scores.h5.partial", "w") as file:
        file["scores"] = np.zeros(3)
    run.score()
    assert run.out.read_bytes() == expected
    assert not (run.folder / "scores.h5.partial").exists()
