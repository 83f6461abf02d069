"""dtrak-stream bench seen: its measures against slow ones, and a run of it with models at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.benchmark.model_dependence.models import HALVES, draw_design
from dtrak_stream.benchmark.seen import run as run_module
from dtrak_stream.benchmark.seen.draws import (
    gain_of_area,
    summary,
    told_by_others,
    told_by_same_writers,
)
from dtrak_stream.benchmark.seen.options import SeenBenchConfig
from dtrak_stream.benchmark.seen.proponents import MODES, proponent_rows
from dtrak_stream.benchmark.seen.residuals import NEAREST, kinds
from dtrak_stream.benchmark.seen.run import measure_seen
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features import residual_features
from dtrak_stream.model.places import EMBEDDED_FOLDER, model_root
from dtrak_stream.seen.detection import area_under_curve
from dtrak_stream.seen.judgement import judge
from tests.scoring.test_neighbours import slowly

COUNT = 1000


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def halves(generator, knows: float = 1.5):
    """Return which of 1,000 images were seen, and residuals that are smaller for these."""
    seen = draw_design(COUNT, 0, seed=0).seen[0]
    return seen, np.exp(generator.normal(size=COUNT) - knows * seen)


def test_residuals_are_told_by_themselves_and_beside_the_nearest_of_both(generator):
    residuals = np.exp(generator.normal(size=40))
    places = generator.normal(size=(40, 3)).astype(np.float32)
    found = kinds(residuals[:25], residuals[25:], (places[:25], places[25:]))
    np.testing.assert_array_equal(np.concatenate(found["by itself"]), residuals)
    expected = slowly([places], residuals, NEAREST)
    np.testing.assert_allclose(np.concatenate(found["beside its nearest"]), expected)


def test_the_gain_of_an_area_is_of_pairs(generator):
    seen, ours = halves(generator)
    theirs = ours * np.exp(0.2 * generator.normal(size=COUNT))
    areas = [area_under_curve(each[seen], each[~seen]) for each in (ours, theirs)]
    found = gain_of_area(seen, ours, theirs)
    assert found.value == pytest.approx(areas[0].value - areas[1].value)
    assert 0 < found.error < areas[0].error / 2
    assert gain_of_area(seen, ours, ours) == (0, 0)
    beside_chance = gain_of_area(seen, ours, np.ones(COUNT))
    assert beside_chance.value == pytest.approx(areas[0].value - 0.5)
    assert beside_chance.error == pytest.approx(areas[0].error)


def test_half_of_what_was_not_seen_is_held_out_and_is_no_candidate(generator):
    seen, residuals = halves(generator)
    told = told_by_same_writers(residuals, seen, draw=0)
    held_out = np.setdiff1d(np.arange(COUNT), told.candidates)
    assert len(held_out) == 250
    assert not seen[held_out].any()
    np.testing.assert_array_equal(told.seen, seen[told.candidates])
    expected = judge(residuals[told.candidates], residuals[held_out])
    np.testing.assert_array_equal(told.judgement.probability, expected.probability)
    other = told_by_same_writers(residuals, seen, draw=1)
    assert not np.array_equal(other.candidates, told.candidates)
    numbers = told.numbers()
    assert numbers["truly_unseen_share"] == pytest.approx(1 / 3)
    assert numbers["mean_seen"] > numbers["mean"] > numbers["mean_unseen"] > 0
    probability = told.judgement.probability
    assert numbers["likely_seen"] == pytest.approx((probability[told.seen] >= 0.5).mean())


def test_draws_that_cannot_tell_are_counted_and_left_out_of_means(generator):
    seen, residuals = halves(generator)
    told = told_by_same_writers(residuals, seen, draw=0).numbers()
    nothing = told_by_others(np.ones(COUNT), np.ones(100), seen).numbers()
    found = summary([told, nothing, told])
    assert (found["draws"], found["telling"]) == (3, 2)
    assert found["mean_seen"]["mean"] == pytest.approx(told["mean_seen"])
    assert found["mean_seen"]["deviation"] == 0
    assert found["area"]["mean"] == pytest.approx((2 * told["area"] + 0.5) / 3)
    assert summary([nothing])["mean_seen"]["mean"] is None


def test_proponents_are_ranked_with_their_scores_multiplied(generator):
    seen, residuals = halves(generator, knows=20)
    told = [[told_by_same_writers(residuals, each, draw=0)] for each in (seen,)]
    scores = generator.random((6, COUNT)) + 1
    rows = {row["seen"]: row["top"] for row in proponent_rows("best", [scores], told)}
    assert list(rows) == list(MODES)
    for mode in ("weight", "filter"):
        assert rows[mode]["20"]["value"] > rows["off"]["20"]["value"] + 0.1
    assert rows["off"]["100"]["value"] == pytest.approx(2 / 3, abs=0.1)


@pytest.fixture
def models_at_hand(monkeypatch):
    """The full model in the place of both halves', and residuals that know what these saw."""

    def copy(config, pool, _):
        for half in HALVES:
            shutil.copytree(model_root(pool.model), config.work / half, dirs_exist_ok=True)
            images = config.work / f"{half}-generated"
            images.mkdir(parents=True, exist_ok=True)
            for path in sorted((EMBEDDED_FOLDER / "digits_generated").glob("*.png"))[:3]:
                shutil.copy(path, images)

    def residuals(_, pool, model):
        number = HALVES.index(Path(model).name)
        generator = np.random.default_rng(number)
        seen = draw_design(COUNT, 0, seed=0).seen[number]
        ours = np.exp(generator.normal(size=COUNT) - 3.0 * seen)
        return ours, np.exp(generator.normal(size=397))

    monkeypatch.setattr(run_module, "make_models", copy)
    monkeypatch.setattr(run_module, "residuals_of", residuals)
    monkeypatch.setattr(residual_features, "RESIDUAL_DRAWS", 1)


def test_a_run_tells_what_weighting_gains_among_the_unseen_and_costs_among_the_seen(
    models_at_hand, tmp_path
):
    config = SeenBenchConfig(
        out=tmp_path / "seen", methods=("pixel-cosine",), generated=3, draws=2, quiet=True
    )
    page = measure_seen(config).path.read_text()
    numbers = json.loads(config.out.with_suffix(".json").read_text())
    assert [row["half"] for row in numbers["residuals"]] == [*HALVES, *HALVES]
    for row in numbers["residuals"]:
        assert (row["residuals"] == "by itself") == (row["gain"] == [0, 0])
    tops = {
        (row["residuals"], row["held_out"], row["seen"]): row["top"]
        for row in numbers["proponents"]
    }
    assert len(tops) == 2 * 2 * len(MODES)
    shares = {mode: tops["by itself", "same writers", mode]["20"]["value"] for mode in MODES}
    assert shares["weight"] > shares["off"] + 0.1
    by_itself = [row for row in numbers["members"] if row["residuals"] == "by itself"]
    assert len(by_itself) == len(numbers["members"]) / 2
    members = {(row["queries"], row["seen"]): row for row in by_itself}
    assert set(members) == {(name, mode) for name in ("val", "gen") for mode in MODES}
    for name in ("val", "gen"):
        off, weight = members[name, "off"], members[name, "weight"]
        assert (off["gain"], off["gain_error"]) == (0, 0)
        assert weight["gain"] == pytest.approx(weight["lds"] - off["lds"])
        assert weight["gain"] != 0
        assert weight["gain_error"] > 0
    assert f"{100 * members['val', 'off']['lds']:.2f} +- " in page


def test_what_cannot_be_measured_is_refused_by_its_option(tmp_path):
    with pytest.raises(ConfigurationError, match="--draws 1"):
        SeenBenchConfig(out=tmp_path / "seen", draws=1)
    with pytest.raises(ConfigurationError, match="--methods datamodel"):
        SeenBenchConfig(out=tmp_path / "seen", methods=("datamodel",))
