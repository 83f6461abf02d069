"""Scores averaged over models: their mean, their resuming, and what is refused."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InterruptedRunError
from dtrak_stream.scoring.kernel import KernelMaker
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.support.checkpoints import Checkpoints
from tests.conftest import store_of
from tests.crashing import contents, finishes_before_step
from tests.scoring.conftest import (
    Attribution,
    attributes,
    attribution_of,
    close,
    read,
    whole_numbers,
)
from tests.scoring.formulas import reference
from tests.scoring.test_damping_lists import groups

SEEDS = (0, 10, 20)
TRAINS = [whole_numbers(24, 64, seed) * (1 + seed // 10) for seed in SEEDS]
QUERIES = [whole_numbers(5, 64, seed + 1) for seed in SEEDS]


@dataclasses.dataclass(frozen=True)
class Models:
    """Several models' stores of the same samples."""

    folder: Path
    each: list[Attribution]

    @property
    def out(self) -> Path:
        return self.folder / "scores.h5"

    def config(self, out: Path | None = None, **options: Any) -> ScoreConfig:
        return ScoreConfig(
            train=tuple(run.train.layout.root for run in self.each),
            query=tuple(run.query.layout.root for run in self.each),
            gram=tuple(run.gram for run in self.each),
            out=out or self.out,
            options=ScoreOptions(**options),
            memory_limit="1GiB",
            quiet=True,
        )

    def score(self, out: Path | None = None, **options: Any) -> Any:
        return score(self.config(out, **options))

    def singles(self, **options: Any) -> list[np.ndarray]:
        """The scores of each model by itself."""
        return [run.scores(**options) for run in self.each]


def models_of(
    folder, trains=TRAINS, queries=QUERIES, rows_per_shard=(7, 7, 7), **options
) -> Models:
    numbered = enumerate(zip(trains, queries, rows_per_shard))
    each = [
        attribution_of(folder / str(number), train, query, rows_per_shard=rows, **options)
        for number, (train, query, rows) in numbered
    ]
    return Models(folder, each)


@pytest.fixture
def models(tmp_path):
    return models_of(tmp_path, output_function="simple")


@pytest.mark.parametrize("damping", ["0.1", "auto", "0.1,1"])
@pytest.mark.parametrize("method", ["trak", "relative-if"])
def test_scores_are_the_mean_of_single_runs(models, method, damping):
    models.score(method=method, damping=damping)
    for number, each in enumerate(damping.split(",")):
        singles = models.singles(method=method, damping=each)
        if "," in damping:
            found = groups(models.out)[number][0]["scores"]
        else:
            found = read(models.out)["scores"]
        assert close(found, np.mean(singles, axis=0))


@pytest.mark.parametrize(("rows_per_shard", "rows_per_part"), [((7, 5, 24), 10), ((3, 1, 2), 1)])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_stores_may_be_cut_into_shards_of_other_sizes(
    tmp_path, monkeypatch, rows_per_shard, rows_per_part, form
):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", rows_per_part)
    options: dict[str, Any] = {"method": "trak", "damping": "0.1", "error_bars": True}
    trains = [train.copy() for train in TRAINS]
    trains[2][16] = np.nan
    stores: dict[str, Any] = {"output_function": "simple", "form": form}
    same = models_of(tmp_path / "same", trains, **stores).score(**options).path
    other = models_of(tmp_path / "other", trains, rows_per_shard=rows_per_shard, **stores)
    other.score(**options)
    expected, found = read(same), read(other.out)
    assert np.isnan(found["scores"][:, 16]).all()
    assert np.allclose(found["scores"], expected["scores"], rtol=1e-4, equal_nan=True)
    assert np.allclose(found["score_error"], expected["score_error"], rtol=1e-3, equal_nan=True)


def test_each_model_has_its_own_damping(models):
    models.score(method="trak", damping="0.1")
    facts = attributes(models.out)
    means = [np.trace(train.astype(np.float64) @ train.T) / 24 for train in TRAINS]
    assert np.allclose(facts["damping_absolute_of_models"], 0.1 * np.array(means))
    assert facts["damping_absolute"] == pytest.approx(0.1 * np.mean(means))
    assert facts["damping_relative"] == pytest.approx(0.1)
    assert facts["num_models"] == 3


@pytest.mark.parametrize("method", ["tracincp", "gas"])
def test_checkpoints_are_weighted_as_asked(models, method):
    models.score(method=method, checkpoint_weights="1,3,0")
    tau = [reference(method, train, query) for train, query in zip(TRAINS, QUERIES)]
    assert close(read(models.out)["scores"], 0.25 * tau[0] + 0.75 * tau[1])
    models.score(method=method)
    assert close(read(models.out)["scores"], np.mean(tau, axis=0))


def test_a_checkpoint_shares_its_weight_among_its_probes(tmp_path):
    tau, names = [], [f"{model}/probe-{probe:03d}" for model in (0, 1) for probe in (0, 1)]
    for number, name in enumerate(names):
        function = f"probe({number % 2}/2)"
        pair = whole_numbers(24, 64, number), whole_numbers(5, 64, 10 + number)
        tau.append(reference("tracincp", *pair))
        for side, rows in zip(("train", "query"), pair):
            store_of(tmp_path / side / name, rows, images=side, output_function=function)
    train, query = (tuple(tmp_path / side / model for model in "01") for side in ("train", "query"))
    options = ScoreOptions(method="tracincp", checkpoint_weights="1,3")
    score(ScoreConfig(train, query, out=tmp_path / "scores.h5", options=options, quiet=True))
    expected = np.average(tau, axis=0, weights=[1, 1, 3, 3])
    assert close(read(tmp_path / "scores.h5")["scores"], expected)


def test_the_transform_is_applied_to_the_mean(models):
    models.score(method="trak", damping="0.1", transform="square")
    singles = models.singles(method="trak", damping="0.1")
    assert close(read(models.out)["scores"], np.mean(singles, axis=0) ** 2)


def test_squares_may_be_averaged_instead(models):
    models.score(method="trak", damping="0.1", transform="mean-square")
    singles = models.singles(method="trak", damping="0.1")
    assert close(read(models.out)["scores"], np.mean(np.square(singles), axis=0))


def test_error_bars_are_those_of_the_mean(models):
    models.score(method="tracincp", error_bars=True)
    means = []
    for sign in (1, -1):
        fold = [(x[:, :32] + sign * x[:, 32:]) for pair in zip(QUERIES, TRAINS) for x in pair]
        means.append(np.mean([q @ t.T for q, t in zip(fold[::2], fold[1::2])], axis=0))
    assert close(read(models.out)["score_error"], np.abs(means[0] - means[1]) / 2)


def test_rankings_are_those_of_the_mean(models, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 7)
    models.score(method="trak", damping="0.1", top_k=6)
    content = read(models.out)
    order = np.argsort(-content["scores"], axis=1, kind="stable")[:, :6]
    assert np.array_equal(content["top_index"], order)
    kept = models.score(
        models.folder / "lists.h5", method="trak", damping="0.1", top_k=6, save_scores="no"
    )
    assert np.array_equal(read(kept.path)["top_index"], order)
    assert "scores" not in read(kept.path)


def test_a_sample_that_one_model_quarantined_has_no_score(tmp_path):
    trains = [train.copy() for train in TRAINS]
    trains[1][4] = np.nan
    models = models_of(tmp_path, trains)
    result = models.score(damping="0.1")
    assert result.quarantined == 1
    scores = read(models.out)["scores"]
    assert np.isnan(scores[:, 4]).all()
    assert np.isfinite(np.delete(scores, 4, axis=1)).all()


def test_a_query_that_one_model_quarantined_has_no_score(tmp_path):
    queries = [query.copy() for query in QUERIES]
    queries[2][3] = np.nan
    models = models_of(tmp_path, queries=queries)
    assert models.score(damping="0.1").quarantined == 1
    found = read(models.out)
    assert np.isnan(found["scores"][3]).all()
    assert (found["top_index"][3] == -1).all()
    assert np.isfinite(np.delete(found["scores"], 3, axis=0)).all()


def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 14)
    models = models_of(tmp_path, TRAINS[:2], QUERIES[:2])
    options = {"damping": "0.1", "method": "d-trak"}
    whole = models.score(tmp_path / "whole" / "scores.h5", **options)
    assert whole.computed == 4
    expected = whole.path.read_bytes()
    step, finished = 0, False
    while not finished:
        out = tmp_path / f"killed-at-{step}" / "scores.h5"
        finished = finishes_before_step(partial(models.score, out, **options), step)
        models.score(out, **options)
        assert out.read_bytes() == expected
        assert set(contents(out.parent)) == {"scores.h5", "scores.config.yaml"}
        step += 2
    assert step > 3 * (1 + 1 + 2 + 4 + 1)


def test_models_that_are_done_are_not_scored_again(models, monkeypatch):
    options = {"method": "trak", "damping": "0.1"}
    expected = models.score(models.folder / "whole.h5", **options).path.read_bytes()
    make, made = KernelMaker.make, list[object]()

    def make_two(maker, *arguments):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(maker)
        return make(maker, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(KernelMaker, "make", make_two)
        with pytest.raises(InterruptedRunError, match=r"scores\.h5\.parts"):
            models.score(**options)
    parts = list((models.folder / "scores.h5.parts").glob("part-*.safetensors"))
    assert [part.name.split(".")[0] for part in parts] == ["part-000000-000000-after-00002"]
    assert models.score(**options).computed == 1
    assert models.out.read_bytes() == expected


def test_unfinished_sums_take_the_same_room_for_any_number_of_models(models, monkeypatch):
    save, most = Checkpoints.save, [0]

    def counted(checkpoints, name, **arrays):
        save(checkpoints, name, **arrays)
        most[0] = max(most[0], len(list(checkpoints.folder.glob("part-*.safetensors"))))

    monkeypatch.setattr(Checkpoints, "save", counted)
    models.score(method="trak", damping="0.1")
    assert most[0] == 2  # the new sum, before the old one is dropped


def test_stores_of_other_samples_are_refused(tmp_path):
    models = models_of(tmp_path, [TRAINS[0], TRAINS[1][:-1]], QUERIES[:2])
    with pytest.raises(FingerprintMismatchError, match="number of samples differs: stored 24"):
        models.score()
    other = attribution_of(tmp_path / "other", TRAINS[1], QUERIES[1])
    renamed = dataclasses.replace(models, each=[models.each[0], renamed_samples(other)])
    with pytest.raises(FingerprintMismatchError, match=r"id of sample 0 differs.*train-0.*else-0"):
        renamed.score()
    assert not models.out.exists()


def renamed_samples(run: Attribution) -> Attribution:
    train = store_of(run.folder / "else", run.train.rows(range(24)), images="else")
    run.gram.unlink()
    return dataclasses.replace(run, train=train).make_gram()


@pytest.mark.parametrize(
    ("method", "name", "found"),
    [
        ("trak", "query", "2 query stores and 3 Gram matrices; give one of each"),
        ("trak", "gram", "3 query stores and 2 Gram matrices; give one of each"),
        ("tracincp", "query", "2 query stores; give one of each"),
    ],
)
def test_a_store_or_a_gram_too_few_is_refused_with_how_many_there_are(models, method, name, found):
    config = models.config(method=method)
    config = dataclasses.replace(config, **{name: getattr(config, name)[:2]})
    told = f"3 training stores need as many of the others, but there are {found}"
    with pytest.raises(ConfigurationError, match=told):
        score(config)


@pytest.mark.parametrize("name", ["train", "query"])
def test_no_store_at_all_is_refused(models, name):
    config = dataclasses.replace(models.config(), **{name: ()})
    with pytest.raises(ConfigurationError, match="--train --query: no features are given"):
        score(config)


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("tracincp", "1,2"),
        ("tracincp", "1,2,-1"),
        ("gas", "0,0,0"),
        ("gas", "1,2,many"),
        ("gradient-dot", "1,2,3"),
    ],
)
def test_weights_that_fit_no_checkpoints_are_refused(models, method, weights):
    with pytest.raises(ConfigurationError, match=f"--checkpoint-weights {weights}: not a weight"):
        models.score(method=method, checkpoint_weights=weights)
