"""Scores of stores that samples came to or went from, next to those of stores made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from tests.conftest import append_to, store_of

SAMPLES, NEW, DIM, GONE = 30, 6, 8, [1, 2, 17, 31]
LEFT = np.setdiff1d(np.arange(SAMPLES + NEW), GONE)


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(SAMPLES + NEW + 3, DIM)).astype(np.float32)


def scored(folder: Path, name: str, train: FeatureStore, query: FeatureStore, **options) -> Path:
    gram, out = folder / f"{name}-gram.h5", folder / f"{name}.h5"
    paths: dict[str, Any] = {"train": train.layout.root, "query": query.layout.root, "out": out}
    if options["method"] != "gradient-dot":
        compute_gram(GramConfig(train.layout.root, gram, quiet=True))
        paths["gram"] = gram
    groups = options.pop("groups", None)
    paths |= {"groups": GroupOptions(groups=groups)} if groups else {}
    score(ScoreConfig(**paths, options=ScoreOptions(top_k=40, **options), quiet=True))
    return out


def changed(folder: Path, store: FeatureStore, features: np.ndarray) -> FeatureStore:
    append_to(store, features[SAMPLES : SAMPLES + NEW])
    (folder / "gone.txt").write_text("\n".join(map(str, GONE)))
    remove(RemoveConfig((store.layout.root,), rows=folder / "gone.txt"))
    return FeatureStore.open(store.layout.root)


@pytest.mark.parametrize("damping", ["auto", "0.1", "auto-oas"])
@pytest.mark.parametrize("method", ["d-trak", "relative-if", "gradient-dot"])
def test_they_are_those_of_a_rebuild(tmp_path, features, capsys, method, damping):
    train = store_of(tmp_path / "train", features[:SAMPLES])
    query = store_of(tmp_path / "query", features[-3:])
    options = {"method": method, "damping": damping}
    if method == "gradient-dot":
        options = {"method": method}
    scored(tmp_path, "scores", train, query, **options)
    train = changed(tmp_path, train, features)
    out = scored(tmp_path, "scores", train, query, **options)
    assert "scoring again" in capsys.readouterr().err
    anew = store_of(tmp_path / "anew", features[LEFT])
    with (
        ScoresFile(out) as found,
        ScoresFile(scored(tmp_path, "rebuilt", anew, query, **options)) as wanted,
    ):
        for number in range(3):
            mine, theirs = found.scores(number), wanted.scores(number)
            assert np.isnan(mine[GONE]).all()
            tolerance = 1e-6 * np.abs(theirs).max()
            assert np.allclose(mine[LEFT], theirs, rtol=0, atol=tolerance)
            assert {each.index for each in found.top(number, 40)} == set(LEFT.tolist())
        assert found.removed("train").tolist() == GONE
        assert found.left("train") == len(LEFT)
        assert found.attributes["quarantined_train"] == 0


def test_error_bars_and_sums_of_groups_are_those_of_a_rebuild(tmp_path, features):
    train = store_of(tmp_path / "train", features[:SAMPLES])
    query = store_of(tmp_path / "query", features[-3:])
    options = {"method": "d-trak", "damping": "0.1", "error_bars": True}
    scored(tmp_path, "scores", train, query, **options)
    train = changed(tmp_path, train, features)
    names = [name.decode() for name in train.ids[slice(None)]]
    groups = tmp_path / "groups.csv"
    groups.write_text("".join(f"{name},{row % 3}\n" for row, name in enumerate(names)))
    out = scored(tmp_path, "scores", train, query, groups=groups, **options)
    anew = store_of(tmp_path / "anew", features[LEFT])
    names = [name.decode() for name in anew.ids[slice(None)]]
    of_anew = tmp_path / "of_anew.csv"
    rows = zip(names, LEFT.tolist(), strict=True)
    of_anew.write_text("".join(f"{name},{row % 3}\n" for name, row in rows))
    rebuilt = scored(tmp_path, "rebuilt", anew, query, groups=of_anew, **options)
    with h5py.File(out) as found, h5py.File(rebuilt) as wanted:
        largest = np.abs(wanted["scores"][:]).max()
        errors = found["score_error"][:][:, LEFT]
        assert np.allclose(errors, wanted["score_error"][:], rtol=0, atol=1e-6 * largest)
        mine, theirs = (file["top_group_score"][:] for file in (found, wanted))
        assert np.allclose(mine, theirs, rtol=0, atol=1e-5 * largest)


def test_a_gram_matrix_of_before_a_change_is_refused_with_how_to_bring_it_up_to_date(
    tmp_path, features
):
    train = store_of(tmp_path / "train", features[:SAMPLES])
    query = store_of(tmp_path / "query", features[-3:])
    gram, out = tmp_path / "gram.h5", tmp_path / "scores.h5"
    compute_gram(GramConfig(train.layout.root, gram, quiet=True))
    changed(tmp_path, train, features)
    config = ScoreConfig(train=train.layout.root, query=query.layout.root, gram=gram, out=out)
    with pytest.raises(FingerprintMismatchError, match="before samples were appended or removed"):
        score(config)
    assert not out.exists()
    compute_gram(GramConfig(train.layout.root, gram, quiet=True))
    score(config)


def test_scores_of_another_store_are_still_kept(tmp_path, features):
    query = store_of(tmp_path / "query", features[-3:])
    train = store_of(tmp_path / "train", features[:SAMPLES])
    other = store_of(tmp_path / "other", features[:SAMPLES], images="others")
    scored(tmp_path, "scores", train, query, method="gradient-dot")
    with pytest.raises(FingerprintMismatchError):
        scored(tmp_path, "scores", changed(tmp_path, other, features), query, method="gradient-dot")
