"""What the page says: the file's ids, scores and order; words that fit them; nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.report.histograms import signed, unsigned
from tests.report.conftest import Node, Run, decode_uri, make_run


def row_entries(card: Node, kind: str) -> list[tuple[int, str, float]]:
    (row,) = [row for row in card.all("section", "row") if kind in row.attributes["class"].split()]
    return [
        (
            int(entry.all("span", "rank")[0].text),
            entry.all("span", "id")[0].text,
            float(np.float32(entry.all("data", "score")[0].attributes["value"])),
        )
        for entry in row.all("li")
    ]


def cards(page: Node) -> list[Node]:
    return [card for card in page.all("article") if "card" in card.attributes["class"]]


def test_ranks_ids_and_scores_on_the_page_are_those_of_the_file(run: Run) -> None:
    page = run.report(proponents=8)
    for q, card in enumerate(cards(page)):
        order = np.argsort(-run.scores[q], kind="stable")
        for kind, expected in (("high", order[:8]), ("low", order[::-1][:8])):
            assert row_entries(card, kind) == [
                (rank, run.train_ids[n], float(run.scores[q, n]))
                for rank, n in enumerate(expected, start=1)
            ]
        assert card.all("div", "about")[0].all("span", "id")[0].text == run.query_ids[q]


def test_written_scores_are_the_values_rounded(run: Run) -> None:
    for score in run.report().all("data", "score"):
        assert score.text == signed(float(score.attributes["value"]))


def test_standard_errors_stand_below_their_scores(run: Run) -> None:
    assert not run.report().all("span", "error")
    with h5py.File(run.folder / "scores.h5", "r+") as file:
        file["score_error"] = np.abs(file["scores"][()]) / 4
        for end in ("top", "bottom"):
            file[f"{end}_score_error"] = np.abs(file[f"{end}_score"][()]) / 4
    for entry in run.report(proponents=3).all("ol", "tiles")[0].all("li"):
        score = abs(float(entry.all("data", "score")[0].attributes["value"]))
        assert entry.all("span", "error")[0].text == f"± {unsigned(score / 4)}"


def test_each_picture_is_that_of_the_sample_named_beside_it(run: Run) -> None:
    page = run.report(proponents=2)
    pixels = {name: read_pixels(run.folder / "train" / name) for name in run.train_ids}
    for entry in page.all("ol", "tiles")[0].all("li"):
        shown = np.asarray(decode_uri(entry.all("img")[0].attributes["src"]))
        np.testing.assert_array_equal(shown, pixels[entry.all("span", "id")[0].text])


def read_pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_every_query_with_scores_has_a_histogram_that_marks_what_is_shown(run: Run) -> None:
    for card in cards(run.report(proponents=5)):
        (histogram,) = card.all("svg")
        styles = [path.attributes.get("style", "") for path in histogram.all("path")]
        assert sum("var(--high)" in style for style in styles) == 5
        assert sum("var(--low)" in style for style in styles) == 5


def test_a_hostile_file_name_is_shown_and_not_obeyed(run: Run) -> None:
    hostile = "\"'><script>alert(1)<b>.png"
    for folder, ids in (("train", run.train_ids), ("query", run.query_ids)):
        (run.folder / folder / ids[0]).rename(run.folder / folder / hostile)
        ids[0] = hostile
        ids.sort()
        assert ids[0] == hostile  # natural order puts it first as well
    run.scores[:, 0] = 9
    run.write_scores()
    page = run.report()
    assert not page.all("script")
    assert {entry[1] for card in cards(page) for entry in row_entries(card, "high")[:1]} == {
        hostile
    }
    assert cards(page)[0].all("div", "about")[0].all("span", "id")[0].text == hostile


def test_the_page_asks_the_network_for_nothing(run: Run) -> None:
    (run.folder / "config.yaml").write_text("train: hf:someone/something\n")
    page = run.report()
    for node in page.all():
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            if node.tag != "data" and name in node.attributes:
                assert node.attributes[name].startswith(("#", "data:image/png;base64,"))
    text = (run.config.out / "index.html").read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert not page.all("script")
    assert not page.all("link")
    (policy,) = [node for node in page.all("meta") if "http-equiv" in node.attributes]
    assert policy.attributes["content"].startswith("default-src 'none';")


def test_ids_inside_histograms_are_unique_on_the_page(run: Run) -> None:
    ids = [node.attributes["id"] for node in run.report().all() if "id" in node.attributes]
    assert len(ids) == len(set(ids))


def test_the_head_gives_the_configuration_in_short(run: Run) -> None:
    facts = {
        fact.all("dt")[0].words: fact.all("dd")[0].words
        for fact in run.report().all("dl", "facts")[0].all("div")
    }
    assert facts["training images"] == "30"
    assert facts["queries"] == "3"
    assert facts["method"] == "d-trak"
    assert facts["output function"] == "square"
    assert facts["timesteps"].split("0,")[0] == "10"
    assert facts["timesteps"].endswith("900")
    assert facts["damping λ"] == "1230.0456 × mean eigenvalue (auto)"
    assert facts["effective dimension"].startswith("78.9")
    assert facts["transform"] == "none"


def test_every_attribute_of_the_file_is_in_the_configuration_table(run: Run) -> None:
    (table,) = run.report().all("table", "attributes")
    shown = {row.all("th")[0].text: row.all("td")[0].text for row in table.all("tr")}
    with h5py.File(run.config.scores) as file:
        assert shown == {name: str(value) for name, value in file.attrs.items()}


def test_configuration_files_beside_the_scores_are_shown(run: Run) -> None:
    (run.folder / "config.yaml").write_text("model: <b>a model</b>\n")
    (run.folder / "scores.config.yaml").write_text("damping: auto\n")
    shown = {pre.text for pre in run.report().all("pre")}
    assert shown == {"model: <b>a model</b>\n", "damping: auto\n"}


def test_squared_scores_have_no_opponents(run: Run) -> None:
    run.scores = run.scores**2
    run.write_scores(transform="square")
    page = run.report()
    labels = [label.text for label in page.all("span", "label")]
    assert labels == ["Most influential", "Least influential"] * 3
    assert "These scores were squared" in page.all("section")[0].words
    assert not page.all("b", "low")
    assert "opponents" not in page.all("header")[0].words
    assert not page.all("li", "low")
    for score in page.all("data", "score"):
        assert score.text == unsigned(float(score.attributes["value"]))
    order = np.argsort(run.scores[0], kind="stable")
    lowest = [entry[1] for entry in row_entries(cards(page)[0], "least")]
    assert lowest == [run.train_ids[n] for n in order[:8]]


def test_a_negative_score_among_the_proponents_is_not_shown_as_positive(run: Run) -> None:
    run.scores = -np.abs(run.scores) - 1
    run.write_scores()
    (row, *_) = run.report().all("section", "high")
    assert {entry.attributes["class"] for entry in row.all("li")} == {"low"}


def test_without_all_scores_the_page_says_why_histograms_are_missing(run: Run) -> None:
    run.write_scores(with_scores=False)
    page = run.report()
    assert not page.all("svg")
    assert "Histograms need all scores" in page.words
    assert len(page.all("ol", "tiles")[0].all("li")) == 8


def test_unused_slots_of_a_ranking_are_not_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", N=5, Q=2)
    run.scores[:, 2] = np.nan
    run.write_scores(quarantined_train=1)
    for tiles in run.report().all("ol", "tiles"):
        ids = [entry.all("span", "id")[0].text for entry in tiles.all("li")]
        assert sorted(ids) == [name for n, name in enumerate(run.train_ids) if n != 2]


def test_a_quarantined_query_is_said_to_be_one(run: Run) -> None:
    run.scores[1] = np.nan
    run.write_scores()
    first, second, third = cards(run.report())
    assert "quarantined" in second.words
    assert not second.all("li")
    assert not second.all("svg")
    for card in (first, third):
        assert "quarantined" not in card.words
        assert len(card.all("svg")) == 1


def test_a_removed_query_is_on_no_card_and_takes_no_place(run: Run) -> None:
    run.report()
    run.scores[0] = np.nan
    run.write_scores(quarantined_query=0)
    with h5py.File(run.config.scores, "r+") as file:
        file["query_removed"] = np.array([0])
    page = run.report(max_queries=2)
    assert [card.attributes["id"] for card in cards(page)] == ["query-1", "query-2"]
    assert "All 2 are shown" in page.words
    assert "This query was quarantined" not in page.words
    assert run.query_ids[0] not in page.text
    grids = sorted(path.name for path in (run.config.out / "grids").iterdir())
    assert grids == ["query-00001.png", "query-00002.png"]


def test_only_the_first_queries_are_shown_and_the_page_says_so(run: Run) -> None:
    page = run.report(max_queries=2)
    assert len(cards(page)) == 2
    assert "The first 2 of 3 are shown" in page.words
    assert len(cards(run.report(max_queries=0))) == 3


def test_the_table_counts_over_all_queries_who_is_a_top_proponent_most(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", N=20, Q=6)
    run.scores[:, 11] = 9
    run.scores[:4, 5] = 8
    run.write_scores()
    page = run.report(max_queries=1, proponents=2, influential=2)
    rows = page.all("table", "influential")[0].all("tr")[1:]
    shown = [
        (row.all("span", "id")[0].text, *(cell.words for cell in row.all("td", "number")))
        for row in rows
    ]
    assert shown == [(run.train_ids[11], "6", "1.0"), (run.train_ids[5], "4", "2.0")]
    assert "an image would be there for 0.6" in page.words


def test_no_shared_proponents_are_said_to_be_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", N=4, Q=4)
    run.scores[:] = np.eye(4)
    run.write_scores()
    assert "among the top 1 of more than one query" in run.report(proponents=1).words


def test_small_images_are_shown_crisply_and_large_ones_smoothly(tmp_path: Path) -> None:
    small = make_run(tmp_path / "small", N=4, Q=1).report()
    large = make_run(tmp_path / "large", N=4, Q=1, size=(256, 256), colour=True).report()
    assert small.all("body")[0].attributes.get("class") == "crisp"
    assert "class" not in large.all("body")[0].attributes


@pytest.mark.parametrize("role", ["train", "query"])
def test_an_unreadable_image_gets_a_tile_with_the_reason(run: Run, role: str) -> None:
    ids = run.train_ids if role == "train" else run.query_ids
    best = int(run.scores[0].argmax()) if role == "train" else 0
    (run.folder / role / ids[best]).write_bytes(b"")
    page = run.report()
    card = cards(page)[0]
    where = card.all("ol", "tiles")[0] if role == "train" else card.all("div", "query")[0]
    (missing,) = where.all("span", "no-picture")
    assert "no picture" in missing.words
    assert "empty" in missing.words
    assert where.all("span", "id")[0].text == ids[best]
