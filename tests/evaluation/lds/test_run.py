"""dtrak-stream lds: what it prints, how samples are matched, and what it refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError, CorruptFileError, DtrakStreamError, InputError
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.judge import open_judge, truth_name
from dtrak_stream.evaluation.lds.run import lds
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.scoring.scores_layout import FITTED_SUBSETS, FITTED_TO
from tests.evaluation.lds.test_estimate import slow_spearman
from tests.evaluation.synthetic import half_masks, linear_losses, names, scores_of, truth_of
from tests.scoring.conftest import attribution_of
from tests.small_jobs import run_tool

M, Q, N = 12, 5, 30


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(Q, N)).astype(np.float32)


@pytest.fixture
def mask() -> np.ndarray:
    return half_masks(M, N)


@pytest.fixture
def truth(tmp_path, mask, scores) -> Path:
    losses = linear_losses(mask, scores, noise=0.8)
    return truth_of(tmp_path / "truth.npz", mask, losses)


def value(scores: Path, truth: Path, **options) -> float:
    config = LdsConfig(scores=(scores,), truth=truth, quiet=True, **options)
    return lds(config).estimates[0].value


def slow_lds(scores: np.ndarray, mask: np.ndarray, losses: np.ndarray) -> float:
    sums = np.array([[sum(row[m]) for row in np.nan_to_num(scores)] for m in mask])
    return float(np.mean([slow_spearman(-sums[:, q], losses[:, q]) for q in range(len(scores))]))


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 9), st.integers(1, 6), st.integers(4, 40), st.integers(0, 999))
def test_lds_is_the_mean_spearman_of_loss_and_minus_the_summed_scores(
    tmp_path_factory, subsets, queries, count, seed
):
    folder = tmp_path_factory.mktemp("lds")
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(queries, count)).astype(np.float32)
    scores[generator.random(scores.shape) < 0.1] = np.nan
    scores[:, 0] = 1.0
    mask = half_masks(subsets, count)
    losses = generator.normal(size=(subsets, queries))
    truth = truth_of(folder / "truth.npz", mask, losses)
    found = value(scores_of(folder / "scores.h5", scores), truth)
    assert found == pytest.approx(slow_lds(scores, mask, losses), abs=1e-9)


def test_blocks_do_not_change_the_result(tmp_path, truth, scores, monkeypatch):
    from dtrak_stream.evaluation.lds import predictions

    path = scores_of(tmp_path / "scores.h5", scores)
    whole = value(path, truth)
    monkeypatch.setattr(predictions, "_BLOCK_COLUMNS", 7)
    monkeypatch.setattr(predictions, "_BLOCK_SCORES", 14)
    assert value(path, truth) == pytest.approx(whole)


def test_scores_that_made_the_losses_give_one_and_their_negative_minus_one(tmp_path, mask, scores):
    truth = truth_of(tmp_path / "exact.npz", mask, linear_losses(mask, scores))
    assert value(scores_of(tmp_path / "a.h5", scores), truth) == pytest.approx(1.0)
    assert value(scores_of(tmp_path / "b.h5", -scores), truth) == pytest.approx(-1.0)


def test_last_line_is_the_lds_with_its_error(tmp_path, truth, scores, capsys):
    path = scores_of(tmp_path / "scores.h5", scores)
    arguments = ["--scores", str(path), "--truth", str(truth), "--json", str(tmp_path / "a.json")]
    code, out, _ = run_tool("lds", arguments, capsys)
    numbers = json.loads((tmp_path / "a.json").read_text())
    assert code == 0
    expected = f"LDS {100 * numbers['lds']:.2f} +- {100 * numbers['standard_error']:.2f}"
    assert out.splitlines()[-1] == expected
    assert 0.3 < numbers["lds"] < 1.0
    assert numbers["files"][0]["counts"]["queries"] == Q


def test_samples_in_another_order_are_matched_by_name(tmp_path, truth, scores):
    plain = value(scores_of(tmp_path / "plain.h5", scores), truth)
    columns, rows = np.random.default_rng(1).permutation(N), np.random.default_rng(2).permutation(Q)
    shuffled = scores_of(
        tmp_path / "shuffled.h5",
        scores[rows][:, columns],
        train=[names("train", N)[i] for i in columns],
        query=[names("query", Q)[i] for i in rows],
    )
    result = lds(LdsConfig(scores=(shuffled,), truth=truth, quiet=True))
    assert result.estimates[0].value == pytest.approx(plain)
    assert "order by name" in result.report


def test_truth_without_names_goes_by_position(tmp_path, mask, scores):
    losses = linear_losses(mask, scores, noise=0.8)
    named = truth_of(tmp_path / "named.npz", mask, losses)
    bare = tmp_path / "bare.npz"
    np.savez_compressed(bare, mask=mask, loss=losses)
    path = scores_of(tmp_path / "scores.h5", scores)
    assert value(path, bare) == value(path, named)


def test_queries_that_say_nothing_are_left_out_or_count_as_zero(tmp_path, mask, scores):
    losses = linear_losses(mask, scores)
    losses[:, 0] = 2.0  # no ranking
    losses[3, 1] = np.nan
    scores[2] = np.nan  # quarantined
    scores[3] = 0.25  # says nothing: halves all sum to the same
    scores[:, 4] = np.nan
    scores[3, 5] = 0.25
    truth = truth_of(tmp_path / "truth.npz", mask, losses)
    path = scores_of(tmp_path / "scores.h5", scores)
    config = LdsConfig(scores=(path,), truth=truth, quiet=True)
    judgement = open_judge(config).judge(path)
    assert judgement.used.tolist() == [False, False, False, True, True]
    assert judgement.notes["training images without a score (counted as 0)"] == 1
    sums = -np.nan_to_num(scores[3]) @ mask.T
    assert judgement.estimate.per_query[0] == pytest.approx(slow_spearman(sums, losses[:, 3]))
    report = lds(config).report
    for what in ("1 queries without a loss", "constant (left out)", "without a score (left out)"):
        assert what in report


def test_constant_predictions_count_as_zero(tmp_path, truth):
    assert value(scores_of(tmp_path / "zero.h5", np.zeros((Q, N))), truth) == 0.0


def test_noise_ceiling_is_told_when_there_are_seeds(tmp_path, mask, scores):
    seeds = np.stack([linear_losses(mask, scores, noise=0.8, seed=s) for s in range(2)])
    truth = truth_of(tmp_path / "seeds.npz", mask, seeds)
    path = scores_of(tmp_path / "scores.h5", scores)
    config = LdsConfig(
        scores=(path,), truth=truth, json=tmp_path / "a.json", csv=tmp_path / "a.csv", quiet=True
    )
    assert "of the ceiling" in lds(config).report
    agreement = np.mean([slow_spearman(*seeds[:, :, q]) for q in range(Q)])
    ceiling = json.loads((tmp_path / "a.json").read_text())["noise_ceiling"]
    assert ceiling["seed_agreement"] == pytest.approx(agreement)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["query_id"] for row in rows] == names("query", Q)
    assert float(rows[2]["seed agreement"]) == pytest.approx(slow_spearman(*seeds[:, :, 2]))


def test_part_of_subsets_and_queries(tmp_path, mask, scores, truth):
    losses = linear_losses(mask, scores, noise=0.8)
    path = scores_of(tmp_path / "scores.h5", scores)
    odd = value(path, truth, queries="odd", subsets="2:9")
    assert odd == pytest.approx(slow_lds(scores[1::2], mask[2:9], losses[2:9, 1::2]))
    even = value(path, truth, queries="even", subsets=":9")
    assert even == pytest.approx(slow_lds(scores[::2], mask[:9], losses[:9, ::2]))


def damped(folder: Path, scores: np.ndarray) -> tuple[Path, ...]:
    """Files of three dampings given as numbers, and one chosen by the rule; 1 is the best."""
    noise = np.random.default_rng(9).normal(size=scores.shape)
    return tuple(
        scores_of(
            folder / f"{name}.h5",
            scores + spoiled * noise,
            damping=name.partition("-")[2],
            damping_relative=relative,
            timesteps="0,500",
            proj_dim=64,
        )
        for name, relative, spoiled in (
            ("d-auto", 0.3, 2.0),
            ("d-0.1", 0.1, 3.0),
            ("d-abs:500", 1.0, 0.0),
            ("d-10", 10.0, 3.0),
        )
    )


def test_oracle_and_rule_chosen_damping_are_told_apart(tmp_path, truth, scores):
    config = LdsConfig(
        scores=damped(tmp_path, scores),
        truth=truth,
        json=tmp_path / "a.json",
        plot=tmp_path / "a.png",
        quiet=True,
    )
    result = lds(config)
    group = json.loads((tmp_path / "a.json").read_text())["damping"]
    assert len(group) == 1
    rule = group[0]["rule-chosen damping"]["lds"]
    oracle = group[0]["oracle damping (best on this truth)"]["lds"]
    assert rule == result.estimates[0].value
    assert oracle == max(estimate.value for estimate in result.estimates) > rule
    assert group[0]["oracle_damping_relative"] == 1.0
    assert f"| {100 * rule:.2f} (auto) | {100 * oracle:.2f} at 1, best of 4 |" in result.report
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_plot_needs_files_that_differ(tmp_path, truth, scores):
    path = scores_of(tmp_path / "scores.h5", scores)
    with pytest.raises(InputError, match="do not differ"):
        lds(LdsConfig(scores=(path,), truth=truth, plot=tmp_path / "a.png", quiet=True))


@pytest.mark.parametrize("key", ["margins", "loss_of_mine", "e-0-val"])
def test_losses_are_any_array_of_the_file_that_is_asked_for(tmp_path, mask, scores, key):
    losses = linear_losses(mask, scores)
    path = tmp_path / "theirs.npz"
    np.savez(
        path, mask=mask, other=np.zeros((len(mask), 3)), names=np.array(["a"]), **{key: losses}
    )
    assert value(scores_of(tmp_path / "s.h5", scores), path, loss_key=key) > 0.99
    with pytest.raises(InputError, match=f"no losses 'mine', but other, {key};"):
        value(scores_of(tmp_path / "s.h5", scores), path, loss_key="mine")
    for wrong in ("mask", "names"):
        with pytest.raises(CorruptFileError, match=f"{wrong} is .* no losses of"):
            value(scores_of(tmp_path / "s.h5", scores), path, loss_key=wrong)


def test_note_when_losses_share_the_noise_of_the_features(tmp_path, mask, scores, capsys):
    facts = {"queries": {"loss": {"name": "val", "loss-seed": 4}}}
    losses = linear_losses(mask, scores)
    truth = truth_of(tmp_path / "truth.npz", mask, losses, attributes=facts)
    value(scores_of(tmp_path / "same.h5", scores, seed=4, noise="shared"), truth, loss_key="val")
    assert "raises its LDS" in capsys.readouterr().err
    value(scores_of(tmp_path / "other.h5", scores, seed=5, noise="shared"), truth)
    assert "raises" not in capsys.readouterr().err


def test_refusals(tmp_path, truth, mask, scores):
    good = scores_of(tmp_path / "good.h5", scores)
    fewer = scores_of(tmp_path / "fewer.h5", scores[:, :-1])
    other = scores_of(tmp_path / "other.h5", scores, train=names("else", N))
    more = scores_of(tmp_path / "more.h5", np.vstack([scores, scores[:1]]))
    twins = scores_of(tmp_path / "twins.h5", scores, train=["train-1", *names("train", N)[1:]])
    infinite = scores_of(tmp_path / "infinite.h5", np.where(scores > 1, np.inf, scores))
    unnamed = truth_of(tmp_path / "unnamed.npz", mask, linear_losses(mask, scores), named=False)
    torn = tmp_path / "torn.npz"
    torn.write_bytes(truth.read_bytes()[:900])
    cases: list[tuple[type[DtrakStreamError], str, Path, Path, dict]] = [
        (InputError, "1 of its training images are not in", fewer, truth, {}),
        (InputError, "30 of its training images are not in", other, truth, {}),
        (InputError, "1 of its queries are not in", more, truth, {}),
        (InputError, "same name|not in", twins, truth, {}),
        (InputError, "scores 29 training images", fewer, unnamed, {}),
        (CorruptFileError, "infinite", infinite, truth, {}),
        (InputError, "holds no losses 'other', but loss", good, truth, {"loss_key": "other"}),
        (ConfigurationError, "--subsets 2:4", good, truth, {"subsets": "2:4"}),
        (InputError, "torn.npz", good, torn, {}),
        (InputError, "does not exist", good, tmp_path / "none.npz", {}),
        (InputError, "does not exist", tmp_path / "none.h5", truth, {}),
    ]
    for kind, what, path, against, options in cases:
        with pytest.raises(kind, match=what):
            value(path, against, **options)


def test_rankings_alone_are_refused(tmp_path, truth, scores):
    import h5py

    path = scores_of(tmp_path / "scores.h5", scores)
    with h5py.File(path, "a") as file:
        del file["scores"]
    with pytest.raises(InputError, match="--save-scores yes"):
        value(path, truth)


def test_every_damping_of_a_list_is_judged_as_it_would_be_alone(tmp_path):
    train, query = np.random.default_rng(3).integers(-8, 9, (2, 24, 64)).astype(np.float32)
    run = attribution_of(tmp_path, train, query[:5])
    mask = half_masks(M, 24)
    losses = linear_losses(mask, run.scores(damping="0.1"), noise=0.8)
    truth = truth_of(tmp_path / "truth.npz", mask, losses, named=False)
    alone = [
        value(run.score(tmp_path / f"{damping}.h5", damping=damping).path, truth)
        for damping in ("auto", "0.1", "abs:500")
    ]
    listed = run.score(tmp_path / "list.h5", damping="auto,0.1,abs:500").path
    result = lds(LdsConfig(scores=(listed,), truth=truth, quiet=True))
    assert [estimate.value for estimate in result.estimates] == pytest.approx(alone, abs=1e-6)
    assert f"| {100 * alone[0]:.2f} (auto) | {100 * max(alone):.2f} at" in result.report
    assert "list.h5 [2]" in result.report


def test_scores_are_not_judged_by_what_they_were_fitted_to(tmp_path, truth, scores):
    made: dict[str, Any] = {FITTED_TO: truth_name(TruthFile(truth)), FITTED_SUBSETS: "2:8"}
    path = scores_of(tmp_path / "fitted.h5", scores, **made)
    for subsets in ("7:12", "0:3", ":"):
        with pytest.raises(ConfigurationError) as refusal:
            value(path, truth, subsets=subsets)
        assert str(refusal.value) == (
            f"{path}: these scores were fitted to subsets 2:8 of this truth file and would be "
            "judged by some of them; fit them to fewer (--subsets 0:16) and judge by the rest "
            "(--subsets 16:)"
        )
    assert -1 <= value(path, truth, subsets="8:12") <= 1
