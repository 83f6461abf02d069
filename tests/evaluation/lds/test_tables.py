"""What is told and drawn of an LDS: texts, tables and plots against the numbers."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from dtrak_stream.evaluation.lds import predictions
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.estimate import estimate_lds
from dtrak_stream.evaluation.lds.judge import open_judge
from dtrak_stream.evaluation.lds.run import lds
from tests.evaluation.synthetic import half_masks, linear_losses, scores_of, truth_of

M, Q, N = 12, 5, 30
SCORES = np.random.default_rng(0).normal(size=(Q, N)).astype(np.float32)
FACTS = {"output_function": "square", "timesteps": "0,500", "noise": "shared", "proj_dim": 64}


@pytest.fixture
def truth(tmp_path):
    mask = half_masks(M, N)
    seeds = [linear_losses(mask, SCORES, noise=0.8, seed=seed) for seed in range(2)]
    return truth_of(tmp_path / "truth.npz", mask, np.stack(seeds))


def of_damping(folder, name, relative, spoiled):
    noise = np.random.default_rng(9).normal(size=SCORES.shape)
    facts = {**FACTS, "damping": name, "damping_relative": relative}
    return scores_of(folder / f"{relative}.h5", SCORES + spoiled * noise, **facts)


@pytest.fixture
def config(tmp_path, truth):
    """Three files that differ in their damping; the largest comes first."""
    files = [("2", 2.0, 1.5), ("auto", 0.3, 2.0), ("0.1", 0.1, 3.0)]
    scores = tuple(of_damping(tmp_path, *file) for file in files)
    return LdsConfig(scores=scores, truth=truth, quiet=True)


@pytest.fixture
def figures(monkeypatch):
    """Figures that are saved."""
    saved, save = list[Figure](), Figure.savefig

    def noted(figure, *place, **how):
        saved.append(figure)
        save(figure, *place, **how)

    monkeypatch.setattr(Figure, "savefig", noted)
    return saved


def test_the_plot_of_dampings_has_a_bar_of_the_interval_for_each(config, figures):
    plotted = dataclasses.replace(config, plot=config.truth.with_name("a.png"))
    estimates = lds(plotted).estimates[::-1]  # by damping
    (axes,) = figures[0].axes
    assert (axes.get_xscale(), axes.get_ylabel()) == ("log", "LDS x 100")
    (bars,) = axes.containers
    line, _, (reach,) = bars
    values = [100 * estimate.value for estimate in estimates]
    assert line.get_xdata().tolist() == [0.1, 0.3, 2.0]
    assert line.get_ydata().tolist() == pytest.approx(values)
    for segment, value, estimate in zip(reach.get_segments(), values, estimates):
        half = 50 * (estimate.high - estimate.low)
        assert segment[:, 1].tolist() == pytest.approx([value - half, value + half])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    recipe = "d-trak, f=square, K=2, shared noise, k=64"
    assert set(labels) == {recipe, "rule-chosen", "noise ceiling"}
    star = next(each for each in axes.lines if each.get_label() == "rule-chosen")
    assert (star.get_xdata().tolist(), star.get_ydata().tolist()) == ([0.3], [values[1]])


def test_a_file_is_described_by_what_its_features_are(config):
    report = lds(config).report
    told = "(d-trak, f=square, K=2, shared noise, k=64; rule-chosen damping 0.3 of the mean"
    assert told in report
    assert "k=64; given damping 2 of the mean eigenvalue)" in report


def test_dampings_are_compared_where_there_are_several(config, tmp_path, truth):
    assert "| recipe |" in lds(config).report
    assert "not given" in lds(dataclasses.replace(config, scores=config.scores[::2])).report
    assert "| recipe |" not in lds(dataclasses.replace(config, scores=config.scores[:1])).report
    plain = tuple(scores_of(tmp_path / name, SCORES) for name in ("a.h5", "b.h5"))
    assert "| recipe |" not in lds(LdsConfig(scores=plain, truth=truth, quiet=True)).report


def test_a_table_of_queries_without_names_leaves_them_out(tmp_path):
    mask = half_masks(M, N)
    losses = linear_losses(mask, SCORES, noise=0.8)
    truth = truth_of(tmp_path / "unnamed.npz", mask, losses, named=False)
    path = scores_of(tmp_path / "scores.h5", SCORES)
    lds(LdsConfig(scores=(path,), truth=truth, csv=tmp_path / "a.csv", quiet=True))
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [(row["query"], row["query_id"]) for row in rows] == [(str(q), "") for q in range(Q)]


def test_images_without_a_score_are_counted_in_every_block(tmp_path, truth, monkeypatch):
    monkeypatch.setattr(predictions, "_BLOCK_COLUMNS", 7)
    scores = SCORES.copy()
    scores[:, [2, 3, 20]] = np.nan
    path = scores_of(tmp_path / "scores.h5", scores)
    judgement = open_judge(LdsConfig(scores=(path,), truth=truth, quiet=True)).judge(path)
    assert judgement.notes["training images without a score (counted as 0)"] == 3


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_ends_where_correlations_end(sign):
    """Of few subsets, an estimate near the end reaches beyond it."""
    generator = np.random.default_rng(0)
    first = generator.normal(size=(4, 3))
    estimate = estimate_lds(first, sign * (first + 0.3 * generator.normal(size=(4, 3))))
    assert -1 <= estimate.low < estimate.value < estimate.high <= 1
    assert (estimate.high if sign > 0 else -estimate.low) == 1
