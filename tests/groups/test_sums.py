"""Scores summed per group, however the scores are cut."""

from __future__ import annotations

from functools import partial

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.gram.file import Gram
from dtrak_stream.groups.lists import GroupLists
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.groups.sums import GroupSums
from dtrak_stream.groups.table import GroupTable
from dtrak_stream.kernel.damping import parse_dampings
from dtrak_stream.methods import find_method
from dtrak_stream.scoring.options import ScoreOptions
from tests.crashing import finishes_before_step
from tests.groups.conftest import score_groups, write_groups
from tests.scoring.conftest import Attribution, attribution_of, read, whole_numbers

N, Q = 24, 5
LABELS = [None if row % 7 == 3 else f"g{row * row % 5}" for row in range(N)]


def by_loop(scores: np.ndarray, index: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums (Q, G) and counts (G,) over scores that are no NaN, one after the other."""
    sums, counts = np.zeros((len(scores), groups)), np.zeros(groups, int)
    quarantined = np.isnan(scores).all(axis=0)
    for n, group in enumerate(index):
        if not quarantined[n]:
            counts[group] += 1
            sums[:, group] += scores[:, n].astype(np.float64)
    sums[:, counts == 0] = np.nan
    return sums, counts


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(1, 30),
    groups=st.integers(1, 8),
    block=st.integers(1, 31),
    bad=st.sets(st.integers(0, 29)),
    seed=st.integers(0, 3),
)
def test_sums_do_not_depend_on_how_scores_are_cut(samples, groups, block, bad, seed):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(3, samples)).astype(np.float32)
    index = random.integers(0, groups, samples).astype(np.int32)
    usable = np.array([row not in bad for row in range(samples)])
    scores[:, ~usable] = np.nan
    names = np.array([f"g{group}".encode() for group in range(groups)], np.bytes_)
    sums = GroupSums(GroupTable(names, index, 0), lambda: usable, queries=3)
    totals, file = sums.totals(3), {}
    for start in range(0, samples, block):
        columns = range(start, min(start + block, samples))
        part = scores[None, :, columns.start : columns.stop]
        totals.add(sums.part(np.concatenate([0 * part, part]), columns), 1)
    for name in ("group_score", "top_group_index", "top_group_score"):
        file[name] = np.full((3, groups), -7.0)
    file |= {name.replace("top", "bottom"): np.array(value) for name, value in file.items()}
    totals.write(file, slice(0, 3))
    expected, counts = by_loop(scores, index, groups)
    assert np.allclose(file["group_score"], expected, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert sums.counts.tolist() == counts.tolist()


@pytest.fixture
def run(tmp_path) -> Attribution:
    """A training sample and a query are quarantined; nobody usable is in group `lost`."""
    train, query = whole_numbers(N, 64), whole_numbers(Q, 64, 1)
    train[4], query[2] = np.nan, np.nan
    labels = list(LABELS)
    labels[4] = "lost"
    write_groups(tmp_path / "groups.csv", labels)
    return attribution_of(tmp_path, train, query)


def groups_of(run: Attribution, **options: object) -> GroupOptions:
    return GroupOptions(groups=run.folder / "groups.csv", **options)  # type: ignore[arg-type]


def expected_sums(run: Attribution, transform: str = "none") -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts by the loop, groups as they stand in the file."""
    result = read(run.score(run.folder / "plain.h5", transform=transform).path)
    names = read(run.out)["group_name"].tolist()
    labels = ["lost" if row == 4 else LABELS[row] or "(no group)" for row in range(N)]
    index = np.array([names.index(label.encode()) for label in labels])
    return by_loop(result["scores"], index, len(names))


@pytest.mark.parametrize("rows_per_part", [1, 7, N])
@pytest.mark.parametrize("save_scores", ["yes", "no"])
def test_sums_are_those_of_a_loop_over_all_scores(run, monkeypatch, rows_per_part, save_scores):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", rows_per_part)
    score_groups(run, groups_of(run), save_scores=save_scores, top_k=2)
    result = read(run.out)
    assert ("scores" in result) == (save_scores == "yes")
    sums, counts = expected_sums(run)
    assert result["group_count"].tolist() == counts.tolist()
    assert np.allclose(result["group_score"], sums, rtol=1e-12, atol=0, equal_nan=True)
    assert np.isnan(result["group_score"][2]).all()


@pytest.mark.parametrize("transform", ["none", "square"])
@pytest.mark.parametrize("rank", ["sum", "mean"])
def test_groups_are_ranked_by_sum_or_mean_from_both_ends(run, rank, transform):
    options = groups_of(run, rank_groups=rank, top_groups=3)
    score_groups(run, options, transform=transform)
    result = read(run.out)
    sums, counts = expected_sums(run, transform)
    with np.errstate(invalid="ignore"):
        values = sums / counts if rank == "mean" else sums
    for query in (0, 1, 3, 4):
        usable = np.flatnonzero(counts)
        order = usable[np.argsort(-values[query, usable], kind="stable")]
        assert result["top_group_index"][query].tolist() == order[:3].tolist()
        assert result["bottom_group_index"][query].tolist() == order[: -3 - 1 : -1].tolist()
        listed = result["top_group_score"][query]
        assert np.allclose(listed, sums[query, order[:3]], rtol=1e-12, atol=0)
    assert result["top_group_index"][2].tolist() == [-1, -1, -1]
    assert np.isnan(result["top_group_score"][2]).all()


def test_sums_that_do_not_fit_leave_the_lists(tmp_path):
    table = GroupTable(np.array([b"x", b"y"]), np.zeros(N, np.int32), 0)
    sums = GroupSums(table, lambda: np.ones(N, np.bool_), queries=10**5, memory_limit=10**6)
    assert not sums.keeps_all
    with h5py.File(tmp_path / "scores.h5", "w") as file:
        sums.begin(file)
        assert "group_score" not in file
        assert file["top_group_index"].shape == (10**5, 2)
        totals = sums.totals(1)
        totals.add(sums.part(np.ones((1, 1, N), np.float32), range(N)), 0)
        totals.write(file, slice(7, 8))
        assert file["top_group_index"][7].tolist() == [0, -1]
        assert file["top_group_score"][7, 0] == N


def test_more_groups_than_fit_in_memory_are_refused():
    names = np.zeros(10**6, "S8")
    table = GroupTable(names, np.zeros(10**6, np.int32), 0)
    with pytest.raises(MemoryLimitError, match="over 1,000,000 groups needs"):
        GroupSums(table, lambda: np.ones(10**6, np.bool_), queries=1, memory_limit=10 * 2**20)


def test_millions_of_groups_are_planned_with_fewer_queries_at_a_time(run):
    score_groups(run, groups_of(run))
    options, limit = ScoreOptions(), 80 * 2**20
    work = plan_module.score_work(
        find_method("d-trak"),
        options,
        parse_dampings("auto"),
        [Gram.open(run.gram)],
        [run.train],
    )
    few = plan_module.plan_scores(run.train, run.query, options, work, memory_limit=limit)
    many = plan_module.plan_scores(
        run.train, run.query, options, work, memory_limit=limit, group_bytes=(0, 30 * 2**20)
    )
    assert (len(few.queries), len(many.queries)) == (1, 3)


def test_every_damping_of_a_list_has_its_own_sums(run):
    score_groups(run, groups_of(run), damping="0.1,10")
    apart = []
    for number, damping in enumerate(("0.1", "10")):
        out = run.folder / f"one-{number}.h5"
        score_groups(run, groups_of(run), damping=damping, out=out)
        apart.append(read(out))
    with h5py.File(run.out) as file:
        for number, one in enumerate(apart):
            group = file[f"damping_{number:03d}"]
            for name in ("group_score", "top_group_index", "bottom_group_score"):
                assert np.allclose(group[name][()], one[name], rtol=1e-4, equal_nan=True)
            with GroupLists(run.out, group.name) as lists:
                index = int(one["top_group_index"][0, 0])
                assert lists.ranked("top", 0, 1)[0].name.encode() == one["group_name"][index]
    assert not np.allclose(apart[0]["group_score"][0], apart[1]["group_score"][0], rtol=1e-2)


def test_a_kill_at_any_step_and_a_restart_give_the_same_sums(run, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 7)
    whole = score_groups(run, groups_of(run), out=run.folder / "whole" / "scores.h5")
    for step in range(0, 40, 4):
        out = run.folder / f"killed-at-{step}" / "scores.h5"
        work = partial(score_groups, run, groups_of(run), out=out)
        if finishes_before_step(work, step):
            break
        work()
        assert out.read_bytes() == whole.path.read_bytes()
    assert step > 8


def test_other_groups_are_summed_anew_and_the_same_are_not(run):
    assert score_groups(run, groups_of(run)).computed > 0
    assert score_groups(run, groups_of(run)).computed == 0
    assert run.score().computed == 0  # without groups, sums do no harm
    write_groups(run.folder / "groups.csv", ["one"] * N)
    assert score_groups(run, groups_of(run)).computed > 0
    assert read(run.out)["group_name"].tolist() == [b"one"]


def test_a_rest_is_warned_of(run, capsys):
    score_groups(run, groups_of(run))
    rest = LABELS.count(None)
    assert f"{rest} of {N} training samples have no group" in capsys.readouterr().err


def test_lists_are_read_back_with_sums_means_and_sizes(run):
    score_groups(run, groups_of(run))
    result = read(run.out)
    with GroupLists(run.out) as lists:
        assert (lists.count, lists.rest, lists.rank) == (5, LABELS.count(None), "sum")
        first, *_, last = lists.ranked("top", 0, 10)
        assert lists.ranked("top", 2, 10) == []
        assert lists.ranked("bottom", 0, 1)[0].name == last.name
    group = result["top_group_index"][0, 0]
    assert first.name == result["group_name"][group].decode()
    assert first.samples == result["group_count"][group]
    assert first.total == result["group_score"][0, group]
    assert first.mean == first.total / first.samples


def test_a_file_without_groups_has_no_lists(run):
    with GroupLists(run.score().path) as lists:
        assert lists.count == 0
        assert lists.ranked("top", 0, 5) == []
