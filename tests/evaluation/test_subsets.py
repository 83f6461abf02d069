"""Subsets: their sizes, and what they depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.evaluation.subsets import draw_subset, read_strata, subset_size


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 2**40), st.integers(0, 2**20))
def test_subset_has_the_size_asked_for(count, alpha, seed, number):
    size = min(max(1, round(alpha * count)), count - 1)
    mask = draw_subset(count, size, seed=seed, number=number)
    assert mask.shape == (count,)
    assert mask.sum() == size


@given(st.lists(st.integers(0, 3), min_size=2, max_size=100), st.integers(0, 99))
def test_every_class_keeps_its_share(labels, number):
    strata = np.array(labels)
    size = subset_size(len(strata), 0.5)
    mask = draw_subset(len(strata), size, seed=0, number=number, strata=strata)
    assert mask.sum() == size
    for label in set(labels):
        exact = (strata == label).sum() * size / len(strata)
        assert abs(mask[strata == label].sum() - exact) < 1


def test_subset_depends_on_seed_and_number_alone():
    masks = [draw_subset(100, 50, seed=s, number=n) for s, n in ((0, 0), (0, 1), (1, 0))]
    assert len({mask.tobytes() for mask in masks}) == 3
    assert (draw_subset(100, 50, seed=0, number=1) == masks[1]).all()


def test_every_image_is_in_about_half_of_the_subsets_and_pairs_in_a_quarter():
    masks = np.stack([draw_subset(40, 20, seed=3, number=n) for n in range(400)]).astype(float)
    assert abs(masks.mean(axis=0) - 0.5).max() < 0.12  # 5 standard errors
    together = masks.T @ masks / 400
    off_diagonal = together[~np.eye(40, dtype=bool)]
    assert abs(off_diagonal.mean() - 20 / 40 * 19 / 39) < 1e-12
    assert off_diagonal.std() < 0.03


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, 0.01, 0.99, float("nan")])
def test_share_that_leaves_nothing_in_or_out_is_refused(alpha):
    with pytest.raises(ConfigurationError, match="--alpha"):
        subset_size(10, alpha)


def test_classes_are_read_from_numbers_or_words(tmp_path):
    for name, labels in (("numbers", [7, 3, 7]), ("words", ["b", "a", "b"])):
        np.save(tmp_path / f"{name}.npy", np.array(labels))
        strata = read_strata(tmp_path / f"{name}.npy", 3)
        assert strata is not None
        assert strata.tolist() == [1, 0, 1]
    assert read_strata(None, 3) is None


def test_wrong_classes_are_refused(tmp_path):
    np.save(tmp_path / "short.npy", np.zeros(2, int))
    np.save(tmp_path / "floats.npy", np.zeros(3))
    (tmp_path / "text.npy").write_text("no array")
    for name in ("short", "floats", "text", "missing"):
        with pytest.raises(InputError, match=name):
            read_strata(tmp_path / f"{name}.npy", 3)
