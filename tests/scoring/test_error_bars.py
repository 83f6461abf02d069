"""Standard errors from the two halves of a sketch: right on average, and written where said."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.names import FOURIER
from dtrak_stream.features.vector_maps import fourier_map
from dtrak_stream.projectors.dense import NormalProjector, RademacherProjector
from dtrak_stream.projectors.sketch import SketchProjector
from dtrak_stream.scoring.halves import HalfSketch
from dtrak_stream.store.reader import FeatureStore
from tests.scoring.conftest import (
    attributes,
    attribution_of,
    close,
    formula,
    read,
    whole_numbers,
)
from tests.scoring.formulas import reference

TRAIN, QUERY = whole_numbers(24, 64), whole_numbers(5, 64, 1)
P, K = 3000, 64


def halves(features):
    first, second = np.split(features.astype(np.float64), 2, axis=1)
    return first + second, first - second


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("transform", ["none", "square"])
def test_the_error_is_half_the_difference_of_the_halves(tmp_path, form, transform):
    run = attribution_of(tmp_path, TRAIN, QUERY, form=form)
    run.score(damping="0.1", error_bars=True, transform=transform, top_k=6)
    content, facts = read(run.out), attributes(run.out)
    damping = facts["damping_absolute"]
    tau = formula(TRAIN, QUERY, damping)
    of_halves = [formula(*pair, damping) for pair in zip(halves(TRAIN), halves(QUERY))]
    if transform == "square":
        tau, of_halves = tau**2, [half**2 for half in of_halves]
    assert close(content["scores"], tau)
    assert close(content["score_error"], np.abs(of_halves[0] - of_halves[1]) / 2)
    for end in ("top", "bottom"):
        listed = np.take_along_axis(content["score_error"], content[f"{end}_index"], axis=1)
        assert np.array_equal(content[f"{end}_score_error"], listed)
    assert facts["error_bars"]


def test_lists_have_errors_without_the_scores_and_in_any_cut(tmp_path, monkeypatch):
    run = attribution_of(tmp_path, TRAIN, QUERY)
    options: dict[str, Any] = {"damping": "0.1", "error_bars": True, "top_k": 6}
    whole = read(run.score(tmp_path / "whole.h5", **options).path)
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 7)
    lists = read(run.score(save_scores="no", **options).path)
    assert "score_error" not in lists
    for name in ("top_score_error", "bottom_score_error"):
        assert close(lists[name], whole[name])


@pytest.mark.parametrize("method", ["gradient-dot", "gradient-cosine", "relative-if"])
def test_other_methods_and_lists_of_dampings_have_errors_too(tmp_path, method):
    run = attribution_of(tmp_path, TRAIN, QUERY, output_function="simple")
    run.score(method=method, error_bars=True, damping="abs:100,abs:300")
    with h5py.File(run.out) as file:
        root = file if method.startswith("gradient") else file["damping_001"]
        errors = root["score_error"][()]
    pairs = zip(halves(TRAIN), halves(QUERY))
    first, second = (reference(method, train, query, 300) for train, query in pairs)
    assert close(errors, np.abs(first - second) / 2)


def test_an_interrupted_run_with_error_bars_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 14)
    run = attribution_of(tmp_path, TRAIN, QUERY)
    options: dict[str, Any] = {"damping": "0.1", "error_bars": True}
    expected = run.score(tmp_path / "whole.h5", **options).path.read_bytes()
    for half in ("sum", "difference"):
        (tmp_path / f"gram.half-{half}.h5").unlink()
    run.interrupt(monkeypatch, after=2, **options)
    assert run.score(**options).computed == 4
    assert run.out.read_bytes() == expected


def test_the_grams_of_the_halves_are_kept_for_another_damping(small):
    small.score(error_bars=True)
    grams = [small.folder / f"gram.half-{half}.h5" for half in ("sum", "difference")]
    before = [gram.stat().st_mtime_ns for gram in grams]
    small.score(error_bars=True, damping="0.1")
    assert [gram.stat().st_mtime_ns for gram in grams] == before


def test_quarantined_samples_have_no_error(tmp_path):
    train = TRAIN.copy()
    train[3] = np.nan
    run = attribution_of(tmp_path, train, QUERY)
    run.score(error_bars=True, damping="0.1")
    errors = read(run.out)["score_error"]
    assert np.isnan(errors[:, 3]).all()
    assert np.isfinite(np.delete(errors, 3, axis=1)).all()


def test_without_error_bars_the_file_has_none(small):
    small.score()
    assert not [name for name in read(small.out) if "error" in name]


@pytest.mark.parametrize("projector", ["identity", "imported"])
def test_features_that_are_no_random_projection_are_refused(small, projector):
    fingerprint = dataclasses.replace(small.train.fingerprint, projector=projector)
    store = dataclasses.replace(small.train.layout, fingerprint=fingerprint)
    with pytest.raises(ConfigurationError, match=f"--error-bars.*{projector}|{projector}.*halves"):
        HalfSketch(FeatureStore(store), "sum")


def projected(projector, vectors):
    out = torch.zeros(len(vectors), K)
    projector.add(torch.tensor(vectors, dtype=torch.float32), 0, out)
    return out.numpy()


@pytest.mark.parametrize("projector", [SketchProjector, RademacherProjector, NormalProjector])
def test_halves_are_unbiased_with_uncorrelated_errors_of_the_promised_size(projector):
    vectors = np.random.default_rng(0).normal(size=(2, P))
    vectors[1] += vectors[0]
    exact = vectors[0] @ vectors[1]
    errors = []
    for seed in range(300):
        features = projected(projector(K, seed), vectors)
        products = [half[0] @ half[1] for half in halves(features)]
        errors.append([features[0] @ features[1] - exact, *(one - exact for one in products)])
    whole, first, second = np.array(errors).T
    spread = first.std()
    for error in (first, second):
        assert abs(error.mean()) < 4 * spread / np.sqrt(300)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.25
    assert np.allclose((first + second) / 2, whole, atol=0.01 * abs(exact))
    told = np.abs(first - second) / 2
    assert np.sqrt(np.mean(told**2)) == pytest.approx(whole.std(), rel=0.2)


def test_fourier_features_are_halved_by_frequencies_with_errors_of_the_promised_size(small):
    vectors = torch.tensor(np.random.default_rng(0).normal(size=(2, 8)), dtype=torch.float32)
    exact = math.exp(-float(((vectors[0] - vectors[1]) ** 2).sum()) / 16)
    layout = small.train.layout
    fingerprint = dataclasses.replace(layout.fingerprint, projector=FOURIER, proj_dim=K)
    store = FeatureStore(dataclasses.replace(layout, fingerprint=fingerprint))
    errors = []
    for seed in range(300):
        features = fourier_map(8, width=K, seed=seed, bandwidth=8.0)(vectors)  # (2, K)
        seen = [HalfSketch(store, half).of_stored(features) for half in ("sum", "difference")]
        assert all(half.shape == (2, K // 2) for half in seen)
        assert torch.allclose(torch.stack(seen).norm(dim=2), torch.ones(2, 2), atol=1e-5)
        assert np.array_equal(HalfSketch(store, "sum").of_stored(features.numpy()), seen[0].numpy())
        products = [float(half[0] @ half[1]) - exact for half in seen]
        errors.append([float(features[0] @ features[1]) - exact, *products])
    whole, first, second = np.array(errors).T
    assert np.allclose((first + second) / 2, whole, atol=1e-5)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.25
    told = np.abs(first - second) / 2
    assert np.sqrt(np.mean(told**2)) == pytest.approx(whole.std(), rel=0.2)
