"""Scores are judged by a truth about the same images, which their names do not tell."""

import numpy as np
import pytest

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.run import lds
from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
from dtrak_stream.evaluation.subset_scores.run import score_from_subsets
from dtrak_stream.scoring.scores_file import ScoresFile
from tests.evaluation.synthetic import half_masks, linear_losses, names, scores_of, truth_of

M, Q, N = 8, 3, 10
OURS = {"train_images": "train", "query_images": "query"}
SCORES = np.random.default_rng(0).normal(size=(Q, N))


@pytest.fixture
def truth(tmp_path):
    """Losses of queries of the hash `query` and models of training images of the hash `train`."""
    mask = half_masks(M, N)
    facts = {
        "recipe": {"image-identity": "train"},
        "queries": {"loss": {"name": "", "queries": "query"}},
        "image-shape": "1x8x8",
    }
    return truth_of(tmp_path / "truth.npz", mask, linear_losses(mask, SCORES), attributes=facts)


def judged(tmp_path, truth, **scored):
    path = scores_of(tmp_path / "scores.h5", SCORES, **scored)
    return lds(LdsConfig(scores=(path,), truth=truth, quiet=True)).estimates[0].value


def test_scores_of_the_same_images_are_judged_without_a_word(tmp_path, truth, capsys):
    assert judged(tmp_path, truth, **OURS) == pytest.approx(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("side", ["train", "query"])
def test_scores_of_other_images_are_refused_with_both_hashes(tmp_path, truth, side):
    with pytest.raises(FingerprintMismatchError) as refusal:
        judged(tmp_path, truth, **{**OURS, f"{side}_images": "others"})
    assert (refusal.value.stored, refusal.value.requested) == ("others", side)
    assert str(refusal.value).startswith(f"{truth}: hash of the ")


@pytest.mark.parametrize(
    "scored",
    [{}, {**OURS, "image_shape": "1x4x4"}, {**OURS, "train": names("train", N)[::-1]}],
    ids=["no hash", "another shape", "another order"],
)
def test_what_cannot_be_compared_is_judged_with_a_line_that_says_so(
    tmp_path, truth, scored, capsys
):
    judged(tmp_path, truth, **scored)
    (told,) = capsys.readouterr().err.splitlines()
    assert f"of {tmp_path / 'scores.h5'} are those of {truth} could not be checked" in told


def test_scores_made_of_a_truth_keep_its_images(tmp_path, truth):
    config = SubsetScoreConfig(
        truth=truth, out=tmp_path / "fitted.h5", method="empirical-influence", quiet=True
    )
    with ScoresFile(score_from_subsets(config).path) as scores:
        assert (scores.images("train"), scores.images("query")) == ("train", "query")
