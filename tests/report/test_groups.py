"""Bars of groups in the report."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import CorruptFileError
from tests.report.conftest import Node, Run

NAMES = ["cats", "dogs & <b>wolves</b>", "birds", "fish", "(no group)"]
SIZES = [10, 5, 5, 4, 6]


def add_groups(
    run: Run, *, top_groups: int = 5, rank: str = "sum", **changes: object
) -> np.ndarray:
    """Write random sums (Q, G) and their lists into the scores file; return the sums."""
    sums = np.random.default_rng(1).normal(size=(len(run.query_ids), len(NAMES)))
    sums[1] = np.nan  # a quarantined query
    with h5py.File(run.config.scores, "r+") as file:
        file["group_name"] = [name.encode() for name in NAMES]
        file["group_count"] = changes.get("sizes", SIZES)
        values = sums / SIZES if rank == "mean" else sums
        for end, sign in (("top", -1), ("bottom", 1)):
            order = np.argsort(sign * values, axis=1)[:, :top_groups]
            order[1] = -1
            file[f"{end}_group_index"] = changes.get("index", order)
            file[f"{end}_group_score"] = np.take_along_axis(sums, order, axis=1)
        file.attrs["rank_groups"], file.attrs["group_rest"] = rank, 6
    return sums


def rows_of(card: Node) -> list[list[str]]:
    """Name, sum, mean and size of each bar."""
    found = []
    for section in card.all("section", "groups"):
        for line in section.all("tbody")[0].all("tr"):
            cells = line.all("td")
            found.append([cells[0].words, *(cell.words for cell in cells[2:])])
    return found


def test_all_groups_are_shown_if_they_are_few(run):
    sums = add_groups(run)
    cards = run.report().all("article", "card")
    rows = rows_of(cards[0])
    order = np.argsort(-sums[0])
    assert [row[0] for row in rows] == [NAMES[group] for group in order]
    assert [row[3] for row in rows] == [str(SIZES[group]) for group in order]
    shown = [float(row[1].replace("\N{MINUS SIGN}", "-")) for row in rows]
    assert np.allclose(shown, sums[0, order], rtol=0.01)
    means = [float(row[2].replace("\N{MINUS SIGN}", "-")) for row in rows]
    assert np.allclose(means, (sums[0] / SIZES)[order], rtol=0.01)


def test_a_quarantined_query_has_no_bars(run):
    add_groups(run)
    assert rows_of(run.report().all("article", "card")[1]) == []


def test_both_ends_are_shown_if_there_are_many(run):
    add_groups(run)
    card = run.report(shown_groups=2).all("article", "card")[0]
    labels = [head.all("th")[0].words for head in card.all("section", "groups")[0].all("thead")]
    assert labels == ["Top groups", "Last groups"]
    assert [len(body.all("tr")) for body in card.all("tbody")] == [2, 2]


def test_the_longest_bar_is_that_of_the_largest_sum_or_mean(run):
    sums = add_groups(run, rank="mean")
    card = run.report().all("article", "card")[0]
    widths = [
        float(bar.attributes["style"].removeprefix("width:").removesuffix("%"))
        for bar in card.all("section", "groups")[0].all("i")
    ]
    means = (sums / SIZES)[0]
    expected = 100 * np.abs(means) / np.abs(means).max()
    assert np.allclose(widths, expected[np.argsort(-means)], atol=0.06)


def test_the_page_says_what_groups_are(run):
    add_groups(run)
    words = run.report().words
    assert "5 groups, ranked by the sum" in words
    assert "6 images have no group" in words


def test_a_file_without_groups_has_no_word_of_them(run):
    page = run.report()
    assert not page.all("section", "groups")
    assert "no group" not in page.words


def test_no_groups_are_shown_when_none_are_wanted(run):
    add_groups(run)
    assert not run.report(shown_groups=0).all("section", "groups")


def test_a_list_that_names_no_group_is_refused(run):
    add_groups(run, index=np.full((3, 5), 9))
    with pytest.raises(CorruptFileError, match="outside 0 to 4"):
        run.report()


def test_a_list_that_names_a_group_of_nobody_is_refused(run):
    add_groups(run, sizes=[0] * 5)
    with pytest.raises(CorruptFileError, match="a group without samples"):
        run.report()
