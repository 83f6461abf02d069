"""A page tells of each training image how probable it is that the model saw it."""

from __future__ import annotations

import h5py
import numpy as np

from tests.report.conftest import Run

TOLD = {
    "held_out_images": 397,
    "seen_area": 0.84,
    "seen_area_error": 0.02,
    "unseen_share_at_most": 0.5,
    "seen_mean_of_candidates": 0.5,
    "seen_mean_of_held_out": 0.2,
}


def with_seen(run: Run, **attributes: object) -> np.ndarray:
    seen = np.linspace(0, 1, len(run.train_ids)).astype(np.float32)
    seen[3] = np.nan
    with h5py.File(run.config.scores, "r+") as file:
        file["seen"] = seen
        file.attrs.update(TOLD | attributes)
    return seen


def test_each_training_image_has_its_probability(run):
    seen = dict(zip(run.train_ids, with_seen(run)))
    entries = run.report(proponents=20).all("li")
    told = {entry.all("span", "id")[0].text: entry.words for entry in entries}
    assert any(np.isnan(seen[name]) for name in told)
    for name, words in told.items():
        if np.isnan(seen[name]):
            assert "seen:" not in words
        else:
            assert f"seen: {100 * seen[name]:.0f} %" in words


def test_the_head_says_how_sure_that_is_and_what_scores_make_of_it(run):
    with_seen(run, seen="off")
    words = run.report().words
    assert "Did the model see these training images?" in words
    assert "84 +- 2 % of pairs" in words
    assert "Scores are multiplied" not in words
    with h5py.File(run.config.scores, "r+") as file:
        file.attrs["seen"] = "weight"
    assert "Scores are multiplied by the probability." in run.report().words


def test_a_file_without_tells_nothing(run):
    assert "Did the model see" not in run.report().words
