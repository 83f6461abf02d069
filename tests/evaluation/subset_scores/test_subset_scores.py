"""Scores fitted to subsets: against scikit-learn and loops, their sign, and their file."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.linear_model import LassoCV, RidgeCV

from dtrak_stream.errors import ConfigurationError, InputError, MemoryLimitError
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.run import lds
from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
from dtrak_stream.evaluation.subset_scores.run import score_from_subsets
from dtrak_stream.scoring.scores_checksums import refuse_flipped
from dtrak_stream.scoring.scores_file import ScoresFile
from tests.evaluation.synthetic import half_masks, linear_losses, truth_of

M, Q, N = 30, 4, 25


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(Q, N))


@pytest.fixture
def mask() -> np.ndarray:
    return half_masks(M, N)


@pytest.fixture
def truth(tmp_path, mask, scores) -> Path:
    return truth_of(tmp_path / "truth.npz", mask, linear_losses(mask, scores, noise=0.3))


def fitted(truth: Path, out: Path, **options) -> np.ndarray:
    score_from_subsets(SubsetScoreConfig(truth=truth, out=out, quiet=True, **options))
    with h5py.File(out) as file:
        return np.asarray(file["scores"])


def test_ridge_is_that_of_scikit_learn_for_every_query(truth, tmp_path, mask, scores):
    losses = linear_losses(mask, scores, noise=0.3)
    losses[:, 1] += 100 * np.random.default_rng(1).normal(size=M)  # another penalty is best
    noisy = truth_of(tmp_path / "noisy.npz", mask, losses)
    penalties = (0.1, 1.0, 10.0)
    references = [
        RidgeCV(cv=5, alphas=penalties).fit(mask.astype(float), loss) for loss in losses.T
    ]
    assert len({reference.alpha_ for reference in references}) > 1
    found = fitted(noisy, tmp_path / "scores.h5", penalties=penalties)
    expected = -np.stack([reference.coef_ for reference in references])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_lasso_is_that_of_scikit_learn(truth, tmp_path, mask, scores):
    losses = linear_losses(mask, scores, noise=0.3)
    lasso = LassoCV(cv=5, max_iter=10_000)
    expected = -np.stack([lasso.fit(mask.astype(float), loss).coef_ for loss in losses.T])
    found = fitted(truth, tmp_path / "scores.h5", penalty="lasso")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_file_is_what_its_checksums_say(truth, tmp_path):
    fitted(truth, tmp_path / "scores.h5", method="empirical-influence")
    assert refuse_flipped(tmp_path / "scores.h5")


def test_empirical_influence_is_the_difference_of_mean_losses(truth, tmp_path, mask, scores):
    losses = linear_losses(mask, scores, noise=0.3)
    expected = [
        [losses[~mask[:, n], q].mean() - losses[mask[:, n], q].mean() for n in range(N)]
        for q in range(Q)
    ]
    found = fitted(truth, tmp_path / "scores.h5", method="empirical-influence")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["datamodel", "empirical-influence"])
def test_proponents_are_positive_and_found_from_enough_subsets(tmp_path, method):
    scores = np.zeros((1, 10))
    scores[0, 3], scores[0, 7] = 1.0, -1.0
    mask = half_masks(200, 10)
    truth = truth_of(tmp_path / "truth.npz", mask, linear_losses(mask, scores))
    fitted(truth, tmp_path / "scores.h5", method=method)
    with ScoresFile(tmp_path / "scores.h5") as file:
        assert file.top(0, 1)[0].index == 3
        assert file.bottom(0, 1)[0].index == 7
        assert file.top(0, 1)[0].score > 0 > file.bottom(0, 1)[0].score


def test_scores_are_judged_by_other_subsets_only(truth, tmp_path):
    out = tmp_path / "scores.h5"
    fitted(truth, out, subsets=":20")
    rest = LdsConfig(scores=(out,), truth=truth, subsets="20:", quiet=True)
    assert lds(rest).estimates[0].value > 0
    with pytest.raises(ConfigurationError, match="fitted to subsets 0:20"):
        lds(LdsConfig(scores=(out,), truth=truth, subsets="19:", quiet=True))


def test_what_never_varies_or_has_no_loss_has_no_score(tmp_path, mask, scores):
    mask[:, 2], mask[:, 5] = False, True
    losses = linear_losses(mask, scores)
    losses[0, 1] = np.nan
    truth = truth_of(tmp_path / "truth.npz", mask, losses)
    config = SubsetScoreConfig(truth=truth, out=tmp_path / "scores.h5", quiet=True)
    assert score_from_subsets(config).quarantined == 3
    with ScoresFile(config.out) as file:
        assert np.isnan(file.scores(1)).all()
        assert np.flatnonzero(np.isnan(file.scores(0))).tolist() == [2, 5]


def test_finished_file_is_left_alone_until_options_change(truth, tmp_path):
    config = SubsetScoreConfig(truth=truth, out=tmp_path / "scores.h5", quiet=True)
    assert [score_from_subsets(config).computed for _ in range(2)] == [1, 0]
    other = SubsetScoreConfig(truth=truth, out=config.out, subsets=":20", quiet=True)
    assert score_from_subsets(other).computed == 1


def test_refusals(truth, tmp_path, mask):
    out = tmp_path / "scores.h5"
    with pytest.raises(ConfigurationError, match="too few for 5 folds"):
        fitted(truth, out, subsets=":9")
    with pytest.raises(MemoryLimitError, match="lasso"):
        fitted(truth, out, penalty="lasso", memory_limit="1KiB")
    with pytest.raises(ConfigurationError, match="--penalties"):
        fitted(truth, out, penalties=(0.0,))
    nothing = truth_of(tmp_path / "nan.npz", mask, np.full((M, Q), np.nan))
    with pytest.raises(InputError, match="no query"):
        fitted(nothing, out)
    assert not out.exists()
