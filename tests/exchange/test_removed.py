"""Samples that were removed are in no export, whatever is said of quarantined ones."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream import ExportConfig, RemoveConfig, ScoreConfig, export, remove, score
from dtrak_stream.scoring.options import ScoreOptions


@pytest.fixture
def stores(make_store, tmp_path):
    """Seven training samples, of which one is bad and two are removed, and three queries."""
    rng = np.random.default_rng(0)
    train, query = rng.normal(size=(7, 4)), rng.normal(size=(3, 4))
    train[2] = np.nan
    made = make_store("train", train), make_store("query", query)
    (tmp_path / "gone.txt").write_text("train-1\ntrain-6\n")
    remove(RemoveConfig((made[0].layout.root,), ids=tmp_path / "gone.txt"))
    return made


LEFT = [("skip", [0, 3, 4, 5]), ("nan", [0, 2, 3, 4, 5])]


@pytest.mark.parametrize(("quarantined", "rows"), LEFT)
def test_removed_samples_are_in_no_export(stores, tmp_path, quarantined, rows):
    train, query = (each.layout.root for each in stores)
    out = tmp_path / "features.npy"
    result = export(ExportConfig(out, store=train, quarantined=quarantined, quiet=True))
    names = [f"train-{row}" for row in rows]
    assert (tmp_path / "features.npy.ids.txt").read_text().split() == names
    exported = np.load(out)
    assert exported.shape == (len(rows), 4)
    assert np.isnan(exported).all(axis=1).tolist() == [row == 2 for row in rows]
    assert result.quarantined == 1

    plain = ScoreOptions(method="gradient-dot", save_scores="yes")
    config = ScoreConfig(train, query, out=tmp_path / "scores.h5", options=plain, quiet=True)
    assert score(config).quarantined == 1
    out = tmp_path / "scores.npy"
    result = export(ExportConfig(out, scores=config.out, quarantined=quarantined, quiet=True))
    assert (tmp_path / "scores.npy.train_ids.txt").read_text().split() == names
    assert np.load(out).shape == (3, len(rows))
    assert result.quarantined == 1
    export(ExportConfig(tmp_path / "lists.csv", scores=config.out, quiet=True))
    listed = (tmp_path / "lists.csv").read_text()
    assert "train-3" in listed
    assert "train-1" not in listed
    assert "train-6" not in listed
