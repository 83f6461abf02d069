"""dtrak-stream bench search: recipes are sums of streams, judged as scores are, and beside best."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from dtrak_stream.benchmark.lds.judging import JudgingJob, run_judging_job
from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.benchmark.lds.recipes import feature_sets
from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, digits
from dtrak_stream.benchmark.search.along import subjects_along
from dtrak_stream.benchmark.search.comparing import independent_units, paired_difference
from dtrak_stream.benchmark.search.judging import sum_of_terms, transformed
from dtrak_stream.benchmark.search.options import SearchConfig
from dtrak_stream.benchmark.search.recipes import (
    ALONG,
    BASELINE,
    RECIPES,
    Features,
    Way,
    chosen_recipes,
)
from dtrak_stream.benchmark.search.run import measure_search
from dtrak_stream.benchmark.search.streams import StreamJob, last_up_block, stream_jobs
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.methods import METHODS
from dtrak_stream.scoring.transforms import TRANSFORMS

MIX = "mix, 2 of avg, .02 and .06"


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def made_up(models=12, queries=5, samples=30, seed=0):
    """Return two predictions and losses (M, Q), and the halves (M, N) they are of."""
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(models, queries))
    ours = losses + rng.normal(size=(models, queries))
    theirs = losses + 2 * rng.normal(size=(models, queries))
    return ours, theirs, losses, rng.random((models, samples)) < 0.5


def of_each_query(predictions, losses):
    pairs = zip(predictions.T, losses.T, strict=True)
    return np.array([scipy.stats.spearmanr(one, other).statistic for one, other in pairs])


def slow_difference(ours, theirs, losses, units):
    """Return the mean difference and its error, query by query and unit by unit."""
    per_query = of_each_query(ours, losses) - of_each_query(theirs, losses)
    means = []
    for unit in units:
        rest = [m for m in range(len(losses)) if m not in unit]
        left = of_each_query(ours[rest], losses[rest]) - of_each_query(theirs[rest], losses[rest])
        means.append(left.mean())
    count = len(units)
    of_halves = (count - 1) / count * ((np.array(means) - np.mean(means)) ** 2).sum()
    return per_query.mean(), np.sqrt(per_query.var(ddof=1) / len(per_query) + of_halves)


def test_a_difference_has_the_error_of_queries_and_of_halves():
    ours, theirs, losses, mask = made_up()
    found = paired_difference(ours, theirs, losses, mask)
    value, error = slow_difference(ours, theirs, losses, [[m] for m in range(12)])
    assert found.value == pytest.approx(value)
    assert found.error == pytest.approx(error)
    assert found.error_of_queries < found.error


def test_halves_that_make_up_a_whole_are_left_out_together():
    ours, theirs, losses, mask = made_up()
    mask[1::2] = ~mask[::2]
    units = [[m, m + 1] for m in range(0, 12, 2)]
    assert independent_units(mask) == units
    found = paired_difference(ours, theirs, losses, mask)
    assert found.error == pytest.approx(slow_difference(ours, theirs, losses, units)[1])


def test_the_same_prediction_does_not_differ_from_itself():
    ours, _, losses, mask = made_up()
    found = paired_difference(ours, ours, losses, mask)
    assert (found.value, found.error) == (0, 0)


def test_terms_are_brought_to_one_size_before_they_are_added():
    small, large = np.array([[1.0, -3.0]]), np.array([[400.0, 0.0]])
    assert np.allclose(sum_of_terms([small, large], [1.0, 0.5]), [[0.5 + 1.0, -1.5]])


def test_the_mean_over_probes_is_squared_or_each_of_them():
    scores = np.array([[[3.0, -1.0]], [[1.0, -1.0]]], np.float32)  # two probes of one query
    square = TRANSFORMS["signed-square"]
    assert transformed(scores, square).tolist() == [[4.0, -1.0]]
    assert transformed(scores, replace(square, of_each=True)).tolist() == [[5.0, -1.0]]
    assert transformed(scores, TRANSFORMS["none"]).tolist() == [[2.0, -1.0]]


def test_every_recipe_has_a_name_of_its_own_and_best_is_what_the_package_calls_so():
    assert len({each.name for each in RECIPES}) == len(RECIPES)
    (best,) = (each for each in RECIPES if each.name == BASELINE)
    (term,) = best.terms
    (stream,) = METHODS["best"].streams
    told = (term.features.output_function, term.features.timesteps, term.features.proj_dim)
    assert told == (stream.output_function, stream.timesteps, stream.proj_dim)
    assert term.transform == stream.transform
    (mix,) = (each for each in RECIPES if each.name == MIX)
    streams = {one.output_function: (one.timesteps, one.weight) for one in METHODS["mix"].streams}
    assert streams == {
        term.features.output_function: (term.features.timesteps, term.weight) for term in mix.terms
    }


def test_costs_are_those_of_all_streams():
    costs = {each.name: (each.gradients, each.forwards, each.bytes_an_image) for each in RECIPES}
    assert costs["best"] == (2, 0, 2052)
    assert costs[MIX] == (2, 1, 4104)
    assert costs["six kernels"] == (6, 0, 6 * 2052)
    assert costs["avg, ten even timesteps"] == (10, 0, 2052)
    assert costs["probe(4), mean"] == (2, 0, 4 * 2052)
    assert costs["pixel-rbf"] == (0, 0, 2052)
    assert costs["best, int8"] == (2, 0, 1028)


def test_recipes_are_chosen_by_group_or_name_and_best_is_always_there():
    assert chosen_recipes(()) == tuple(each for each in RECIPES if each.group != ALONG)
    assert {each.group for each in chosen_recipes((ALONG,))} == {"best", ALONG}
    assert [each.name for each in chosen_recipes((MIX,))] == [BASELINE, MIX]
    assert {each.group for each in chosen_recipes(("damping",))} == {"best", "damping"}
    with pytest.raises(ConfigurationError, match=r"--recipes mixx: .*groups: best, damping"):
        chosen_recipes(("mixx",))


def test_models_are_trained_as_far_as_recipes_ask(tmp_path, monkeypatch):
    config = SearchConfig(out=tmp_path / "search", quiet=True)
    subject, trained = digits(config.of_truths), []

    def training(options, shares, *, visible):
        trained.append((options.optimisation.epochs, options.out, list(shares)))
        return [options.out / f"{share:g}" for share in shares]

    monkeypatch.setattr("dtrak_stream.benchmark.search.along.weights_along", training)
    assert subjects_along(config, subject, chosen_recipes(())) == {}
    recipes = chosen_recipes(("best, after 30% of training",))
    along = subjects_along(config, subject, recipes)
    out = config.work / "digits" / "trained"
    assert trained == [(500, out, [0.1, 0.3])]  # by the recipe of the model that comes along
    of_best, at_30 = stream_jobs(config, subject, recipes, along)
    assert of_best.subject.model == subject.model
    assert at_30.subject == replace(subject, model=str(out / "0.3"))


def test_the_last_block_is_that_of_the_network():
    assert last_up_block("embedded:digits_ddpm") == 1
    assert last_up_block("embedded:sprites_ddpm") == 2
    last = next(each for each in RECIPES if each.name == "last up block")
    options = last.terms[0].features.options("cpu", 2)
    assert options.parameters == r"up_blocks\.2\."


def test_scores_are_kept_for_their_features_and_images_and_for_any_truth(tmp_path):
    config = SearchConfig(out=tmp_path / "search")
    subject = digits(config.of_truths)
    job = StreamJob(config, subject, Features(), (Way(),))
    kept = job.kept(Way())
    grown = replace(subject, truth=Path("grown.npz"))
    assert replace(job, subject=grown).kept(Way()) == kept
    (tmp_path / "0.png").write_bytes(b"another")
    others = replace(subject, generated=str(tmp_path))
    changed = [
        job.kept(Way(freedom=0.2)),
        replace(job, features=Features(proj_dim=512)).kept(Way()),
        replace(job, subject=others).kept(Way()),
    ]
    assert len({kept, *changed}) == 4


def test_streams_of_the_same_features_are_one_job():
    recipes = chosen_recipes(("damping", "mix", "methods"))
    jobs = stream_jobs(SearchConfig(), digits(LdsBenchConfig()), recipes)
    kinds = [job.features for job in jobs]
    assert len(set(kinds)) == len(kinds)
    of_best = next(job for job in jobs if job.features == Features())
    assert {Way(), Way("renorm-if"), Way(freedom=0.05)} < set(of_best.ways)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Results of three recipes, and of the same methods by bench lds."""
    folder = tmp_path_factory.mktemp("search")
    recipes = (MIX, "best, df by held-out images", "renorm-if of best")
    config = SearchConfig(folder / "search", ("digits",), recipes, quiet=True)
    page = measure_search(config).path.read_text()
    judging = LdsBenchConfig(out=folder / "lds", quiet=True)
    rows = []
    for each in feature_sets(judging):
        if each.scorings[0].method in ("best", "mix"):
            job = JudgingJob(digits(judging), each, judging)
            run_judging_job(job)
            rows += job.rows() or []
    return config, page, rows


def numbers_of(config):
    rows = json.loads(config.out.with_name("search.json").read_text())["rows"]
    return {row["recipe"]: row for row in rows}


@pytest.mark.parametrize("queries", QUERY_SETS)
@pytest.mark.parametrize(("recipe", "method"), [(BASELINE, "best"), (MIX, "mix")])
def test_recipes_are_judged_as_the_methods_are(searched, queries, recipe, method):
    config, _, rows = searched
    (row,) = (each for each in rows if (each["method"], each["queries"]) == (method, queries))
    found = numbers_of(config)[recipe][f"{queries}-all"]
    nearly = 1e-6 if method == "best" else 0.004  # the size of streams is of a sample there
    assert found["lds"] == pytest.approx(row["rules"]["auto"]["lds"], abs=nearly)
    assert found["standard_error"] == pytest.approx(
        row["rules"]["auto"]["standard_error"], abs=nearly
    )


def test_what_a_recipe_gains_is_told_beside_best(searched):
    config, page, _ = searched
    found = numbers_of(config)
    for queries in QUERY_SETS:
        for part in ("even", "odd", "all"):
            ours, best = found[MIX][f"{queries}-{part}"], found[BASELINE][f"{queries}-{part}"]
            assert ours["difference"] == pytest.approx(ours["lds"] - best["lds"])
            assert ours["difference"] > 3 * ours["error"]  # measured: 4 to 5 errors
    odd = found[MIX]["val-odd"]
    assert f"| {100 * odd['difference']:+.1f} +- {100 * odd['error']:.1f} |" in page
    assert "noise ceiling 86.7" in page


def test_scores_are_normalised_and_damped_as_a_recipe_says(searched):
    found = numbers_of(searched[0])
    best = found[BASELINE]["val-all"]["lds"]
    assert found["best, df by held-out images"]["val-all"]["lds"] > best + 0.005
    assert found["renorm-if of best"]["val-all"]["lds"] != best


def test_what_is_kept_is_not_computed_again(searched, monkeypatch):
    config, _, _ = searched
    before = numbers_of(config)
    assert not list((config.work / "digits" / "stores").iterdir())
    monkeypatch.setattr("dtrak_stream.benchmark.search.streams.run_stream_job", None)
    measure_search(config)
    assert numbers_of(config) == before
