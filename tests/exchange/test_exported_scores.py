"""Scores as an array or a table for other programs."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from dtrak_stream.errors import DtrakStreamError, InputError
from dtrak_stream.exchange.exporting import export
from dtrak_stream.exchange.options import ExportConfig, ExportResult
from tests.conftest import store_of
from tests.scoring.conftest import Attribution, attribution_of, close, formula, read, whole_numbers


def exported_scores(scores: Path, out: Path, **options: Any) -> ExportResult:
    return export(ExportConfig(out=out, scores=scores, quiet=True, **options))


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Attribution, np.ndarray]:
    """24 training samples, 5 queries; one of each quarantined. Their scores by the formula."""
    train, query = whole_numbers(24, 64), whole_numbers(5, 64, 1)
    train[4], query[2] = np.nan, np.nan
    attribution = attribution_of(tmp_path, train, query)
    attribution.score(damping="abs:500", top_k=7)
    expected = formula(np.nan_to_num(train), np.nan_to_num(query), 500)
    expected[2], expected[:, 4] = np.nan, np.nan
    return attribution, expected


def test_all_scores_are_exported_with_the_ids_of_both_sides(tmp_path, scored):
    attribution, expected = scored
    assert exported_scores(attribution.out, tmp_path / "s.npy").quarantined == 2
    kept = np.delete(np.delete(expected, 2, axis=0), 4, axis=1)
    assert close(np.load(tmp_path / "s.npy"), kept)
    names = (tmp_path / "s.npy.train_ids.txt").read_text().split()
    assert names == [f"train-{row}" for row in range(24) if row != 4]
    names = (tmp_path / "s.npy.query_ids.txt").read_text().split()
    assert names == [f"query-{row}" for row in range(5) if row != 2]


def test_scores_of_quarantined_samples_are_nan_when_asked_for(tmp_path, scored):
    attribution, _ = scored
    out = tmp_path / "s.safetensors"
    exported_scores(attribution.out, out, quarantined="nan")
    stored = read(attribution.out)["scores"]
    assert np.array_equal(load_file(out)["scores"], stored, equal_nan=True)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("quarantined", ["skip", "nan"])
def test_beside_scores_lies_the_probability_that_each_column_was_seen(
    tmp_path, scored, suffix, quarantined
):
    attribution, expected = scored
    out = tmp_path / f"s{suffix}"
    exported_scores(attribution.out, out, quarantined=quarantined)
    beside = tmp_path / f"{out.name}.seen.npy"
    assert not beside.exists()
    probability = np.linspace(0, 1, 24, dtype=np.float32)
    probability[7] = np.nan
    with h5py.File(attribution.out, "a") as file:
        file["seen"] = probability
    exported_scores(attribution.out, out, quarantined=quarantined)
    kept = np.delete(probability, 4) if quarantined == "skip" else probability
    np.testing.assert_array_equal(np.load(beside), kept)
    columns = Path(f"{out}.train_ids.txt").read_text().split()
    assert len(columns) == len(kept) == expected.shape[1] - (quarantined == "skip")


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_lists_who_is_a_proponent_and_who_an_opponent(tmp_path, scored):
    attribution, expected = scored
    assert exported_scores(attribution.out, tmp_path / "s.csv", top_k=3).quarantined == 1
    lines = lines_of(tmp_path / "s.csv")
    assert len(lines) == 4 * 2 * 3
    first = [line for line in lines if line["query_id"] == "query-0"]
    order = np.argsort(-np.nan_to_num(expected[0]), kind="stable")
    top, bottom = first[:3], first[3:]
    assert [line["train_id"] for line in top] == [f"train-{row}" for row in order[:3]]
    assert [line["train_id"] for line in bottom] == [f"train-{row}" for row in order[:-4:-1]]
    assert [line["rank"] for line in first] == ["1", "2", "3"] * 2
    assert {line["side"] for line in top} == {"proponent"}
    assert {line["side"] for line in bottom} == {"opponent"}
    shown = np.array([float(line["score"]) for line in top])
    assert np.array_equal(shown.astype(np.float32), read(attribution.out)["top_score"][0, :3])


@pytest.mark.parametrize("transform", ["none", "signed-square"])
def test_a_side_is_that_of_the_score_wherever_it_is_listed(tmp_path, scored, transform):
    attribution, _ = scored
    attribution.score(damping="abs:500", top_k=24, transform=transform)
    exported_scores(attribution.out, tmp_path / "s.csv")
    for line in lines_of(tmp_path / "s.csv"):
        assert line["side"] == ("proponent" if float(line["score"]) > 0 else "opponent")


def test_squared_scores_have_no_side(tmp_path, scored):
    attribution, _ = scored
    attribution.score(transform="square", top_k=7)
    exported_scores(attribution.out, tmp_path / "s.csv")
    assert {line["side"] for line in lines_of(tmp_path / "s.csv")} == {"unsigned"}


def test_ids_with_commas_and_quotes_survive_the_table(tmp_path):
    store = store_of(tmp_path / "x", whole_numbers(3, 64), images='a, "b"')
    attribution = Attribution(tmp_path, store, store).make_gram()
    exported_scores(attribution.score().path, tmp_path / "s.csv")
    assert {line["query_id"] for line in lines_of(tmp_path / "s.csv")} == {
        f'a, "b"-{row}' for row in range(3)
    }


def test_rankings_alone_make_a_table_but_no_array(tmp_path, scored):
    attribution, _ = scored
    attribution.score(save_scores="no", top_k=7)
    exported_scores(attribution.out, tmp_path / "s.csv")
    with pytest.raises(InputError, match="--save-scores yes"):
        exported_scores(attribution.out, tmp_path / "s.npy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one"),
        ({"store": Path("s"), "scores": Path("t")}, "exactly one"),
        ({"store": Path("s"), "out": Path("o.csv")}, "a store has none"),
        ({"scores": Path("s"), "out": Path("o.fvecs")}, "features, not scores"),
        ({"store": Path("s"), "out": Path("o.fvecs"), "quarantined": "nan"}, "NaN finds nothing"),
        ({"store": Path("s"), "out": Path("o.mat")}, ".mat is no known format"),
        ({"store": Path("s"), "out": Path("o")}, "no suffix"),
        ({"scores": Path("s"), "top_k": 3}, "for a csv"),
        ({"store": Path("nowhere")}, "not a feature store"),
        ({"scores": Path("nowhere")}, "does not exist"),
    ],
)
def test_what_cannot_be_exported_is_refused(options, message):
    with pytest.raises(DtrakStreamError, match=message):
        export(ExportConfig(**{"out": Path("o.npy"), "quiet": True, **options}))


@pytest.mark.parametrize("top_k", [0, 8])
def test_lists_longer_than_those_in_the_file_are_refused(tmp_path, scored, top_k):
    attribution, _ = scored
    with pytest.raises(DtrakStreamError, match="have 7 entries"):
        exported_scores(attribution.out, tmp_path / "s.csv", top_k=top_k)


def test_a_name_is_no_formula_for_a_spreadsheet(tmp_path, scored):
    out = tmp_path / "hostile.h5"
    shutil.copy(scored[0].out, out)
    hostile = "=HYPERLINK(1)"
    with h5py.File(out, "r+") as file:
        for name in ("train_id", "query_id"):
            count = len(file[name])
            del file[name]
            file[name] = np.array([f"{hostile}{row}".encode() for row in range(count)], np.bytes_)
    exported_scores(out, tmp_path / "s.csv")
    for line in lines_of(tmp_path / "s.csv"):
        assert line["train_id"].startswith(f"'{hostile}")
        assert line["query_id"].startswith(f"'{hostile}")
        float(line["score"])
