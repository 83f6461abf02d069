"""Stores of random Fourier features of pixels: one bandwidth for training images and queries."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from dtrak_stream import AttributeConfig, ScoreOptions, ScoresFile, attribute
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.features.comparing import refuse_other_features
from dtrak_stream.features.vector_maps import fourier_map
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.reader import FeatureStore
from tests.crashing import finishes_before_step
from tests.small_jobs import (
    fingerprint_of,
    random_pixels,
    save_images,
    small_features,
    small_job,
    stored,
    written_at,
)

COUNT = 7


@pytest.fixture
def images(tmp_path):
    return save_images(tmp_path / "images", random_pixels(COUNT))


def fourier_job(images, store, **changes) -> FeaturizeConfig:
    options = {"output_function": "rff(pixels)", "execution": ExecutionOptions(), **changes}
    return small_job("no such model", images, store, **options)


def bandwidth_of(store) -> float:
    bandwidth = fingerprint_of(store).bandwidth
    assert bandwidth is not None
    return bandwidth


def rows_of(config) -> np.ndarray:
    featurize(config)
    store = FeatureStore.open(config.store)
    return store.rows(range(len(store)))


def test_rows_are_features_of_the_pixels_with_the_bandwidth_that_is_kept(images, tmp_path):
    rows = rows_of(fourier_job(images, tmp_path / "s", dtype="float32"))
    found = fingerprint_of(tmp_path / "s")
    assert (found.output_function, found.proj_dim) == ("rff(pixels)", 64)
    assert found.projector == "random Fourier features"
    pixels = torch.from_numpy(random_pixels(COUNT).reshape(COUNT, 64) / np.float32(127.5) - 1)
    expected = fourier_map(64, width=64, seed=0, bandwidth=bandwidth_of(tmp_path / "s"))(
        pixels.float()
    )
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(images, tmp_path):
    whole = fourier_job(images, tmp_path / "whole", rows_per_shard=4)
    featurize(whole)
    step = 0
    while True:
        config = dataclasses.replace(whole, store=tmp_path / str(step))
        finished = finishes_before_step(lambda c=config: featurize(c), step)  # type: ignore[misc]
        featurize(config)
        assert stored(config.store) == stored(whole.store)
        if finished:
            break
        step += 1
    assert step > 12


def test_images_that_are_appended_leave_the_bandwidth_as_it_is(images, tmp_path):
    config = fourier_job(images, tmp_path / "s")
    before = rows_of(config)
    kept = fingerprint_of(config.store).bandwidth
    save_images(images, np.zeros((6, 8, 8), np.uint8), [f"1{i:02d}.png" for i in range(6)])
    anew = fourier_job(images, tmp_path / "anew")
    after = rows_of(dataclasses.replace(config, append=True))
    assert fingerprint_of(config.store).bandwidth == kept
    assert np.array_equal(after[:COUNT], before)
    featurize(anew)
    assert fingerprint_of(anew.store).bandwidth != kept


def test_queries_of_another_bandwidth_are_refused_with_the_right_one(images, tmp_path):
    queries = save_images(tmp_path / "queries", random_pixels(3, seed=9) // 4)
    train, query = (fourier_job(each, tmp_path / each.name / "s") for each in (images, queries))
    for each in (train, query):
        featurize(each)
    ours, theirs = (fingerprint_of(each.store) for each in (train, query))
    with pytest.raises(FingerprintMismatchError, match="bandwidth differs") as refusal:
        refuse_other_features(ours, theirs, where="queries")
    assert f"--bandwidth {ours.bandwidth:g}" in refusal.value.remedy
    told = fourier_job(queries, tmp_path / "told", bandwidth=ours.bandwidth)
    featurize(told)
    refuse_other_features(ours, fingerprint_of(told.store), where="queries")


def test_the_main_job_gives_queries_the_bandwidth_of_its_training_images(images, tmp_path, capsys):
    queries = save_images(tmp_path / "queries", random_pixels(3, seed=9) // 4)
    config = AttributeConfig(
        model="no such model",
        train=str(images),
        query=str(queries),
        run=tmp_path / "run",
        features=small_features(timesteps=None),
        score_options=ScoreOptions("pixel-rbf", damping="0.1", top_k=2),
        quiet=True,
    )
    attribute(config)
    assert capsys.readouterr().err.count("the median squared distance of 7 of the images") == 1
    found = [fingerprint_of(config.run / side).bandwidth for side in ("train", "query")]
    assert found[0] == found[1] == fingerprint_of(config.run / "train").bandwidth
    before = written_at(config.run / "train"), written_at(config.run / "query")
    attribute(config)
    more = dataclasses.replace(config, query=f"more={queries}")
    attribute(more)
    assert (written_at(config.run / "train"), written_at(config.run / "query")) == before
    other = config.run / "queries" / "more" / "query"
    assert fingerprint_of(other).bandwidth == found[0]
    assert capsys.readouterr().err.count("the median") == 0


def exact_scores(train: np.ndarray, query: np.ndarray, bandwidth: float, damping: float):
    """Return by how much v_q = k_qq - k_q^T (K + lambda I)^-1 k_q grows with n left out.

    Times [(K + lambda I)^-1]_nn, all in float64 on the (N, N) kernel of the pixels themselves:
    the square of k_q^T (K + lambda I)^-1.
    """

    def kernel(u, v):
        return np.exp(-np.square(u[:, None] - v).sum(axis=2) / (2 * bandwidth))

    inverse = np.linalg.inv(kernel(train, train) + damping * np.eye(len(train)))
    k_q, found = kernel(query, train), np.empty((len(query), len(train)))
    with_all = 1 - np.einsum("qn,nm,qm->q", k_q, inverse, k_q)
    for n in range(len(train)):
        rest = np.delete(np.arange(len(train)), n)
        of_rest = np.linalg.inv(kernel(train[rest], train[rest]) + damping * np.eye(len(rest)))
        k_q = kernel(query, train[rest])
        found[:, n] = 1 - np.einsum("qn,nm,qm->q", k_q, of_rest, k_q) - with_all
    return found * np.diag(inverse)


def test_scores_of_pixel_rbf_come_to_those_of_the_exact_kernel_of_pixels(
    tmp_path,
):
    everything = random_pixels(28) // 4 + random_pixels(1, seed=3)[0] // 2
    everything[1::2, :, :4] //= 2
    pixels = everything.reshape(28, 64) / 127.5 - 1
    agreement = []
    for width in (64, 1024, 16384):
        config = AttributeConfig(
            model="no such model",
            train=str(save_images(tmp_path / f"train{width}", everything[:24])),
            query=str(save_images(tmp_path / f"query{width}", everything[24:])),
            run=tmp_path / f"run{width}",
            features=small_features(timesteps=None, proj_dim=width, dtype="float32"),
            score_options=ScoreOptions("pixel-rbf", damping="abs:0.3", top_k=2, save_scores="yes"),
            quiet=True,
        )
        with ScoresFile(attribute(config).scores) as file:
            scores = np.stack([file.scores(query) for query in range(4)])
        bandwidth = bandwidth_of(config.run / "train")
        exact = exact_scores(pixels[:24], pixels[24:], bandwidth, 0.3)
        agreement.append(spearmanr(scores.ravel(), exact.ravel()).statistic)
    assert agreement == sorted(agreement)
    assert agreement[-1] > 0.98


@pytest.mark.parametrize("inside", ["square", "rff(pixels)", "", "pixel"])
def test_fourier_features_of_something_else_are_refused(images, tmp_path, inside):
    job = fourier_job(images, tmp_path / "s", output_function=f"rff({inside})")
    with pytest.raises(ConfigurationError, match=r"use one of: rff\(pixels\), rff\(clip\)"):
        featurize(job)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_bandwidth_is_refused(bandwidth):
    with pytest.raises(ConfigurationError, match="--bandwidth"):
        small_features(bandwidth=bandwidth)


def test_options_that_mean_nothing_are_said(images, tmp_path, capsys):
    featurize(fourier_job(images, tmp_path / "s", output_function="pixels", bandwidth=3.0))
    featurize(fourier_job(images, tmp_path / "t", projector="normal"))
    told = capsys.readouterr().err
    assert "--bandwidth: not used, there are no random Fourier features" in told
    assert "--projector: not used, rff(pixels) is a map of its own" in told
