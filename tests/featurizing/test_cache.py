"""Latents and embeddings on disk: a second featurization runs neither encoder, and a killed one
goes on to the same bytes."""

from __future__ import annotations

import dataclasses
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.data.images import Images
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.autoencoders import Autoencoder
from dtrak_stream.model.text_encoders import LastLayer
from dtrak_stream.store.reader import FeatureStore
from tests.crashing import contents, start_beside
from tests.featurizing.test_captions import save_captioned
from tests.model.text_pipelines import TEXT_PIPELINES
from tests.small_jobs import small_job

CAPTIONS = ("a red cat", "9 dogs", "a red cat", "a dog", "owl")
COUNT, DIFFERENT = 5, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return TEXT_PIPELINES["sd"].save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def job(model, tmp_path) -> FeaturizeConfig:
    images = save_captioned(tmp_path / "images", CAPTIONS)
    plain = small_job(model, images, tmp_path / "first")
    return dataclasses.replace(plain, cache_latents=tmp_path / "kept")


@pytest.fixture
def done(monkeypatch) -> dict[str, int]:
    """How many images were encoded and decoded, and how many of the captions were encoded."""
    counts = {"encoded": 0, "decoded": 0, "captions": 0}
    latents, image, encode = Autoencoder.latents, Images.image_and_origin, LastLayer.encode

    def counted_latents(self, images, sample_ids):
        counts["encoded"] += len(images)
        return latents(self, images, sample_ids)

    def counted_image(self, index):
        counts["decoded"] += 1
        return image(self, index)

    def counted_encode(self, text):
        counts["captions"] += text in CAPTIONS
        return encode(self, text)

    monkeypatch.setattr(Autoencoder, "latents", counted_latents)
    monkeypatch.setattr(Images, "image_and_origin", counted_image)
    monkeypatch.setattr(LastLayer, "encode", counted_encode)
    return counts


def test_a_second_featurization_decodes_no_image_and_runs_no_encoder(job, tmp_path, done, capsys):
    featurize(job)
    assert done == {"encoded": COUNT, "decoded": COUNT, "captions": DIFFERENT}
    rows = FeatureStore.open(job.store).rows(range(COUNT))
    second = dataclasses.replace(job, store=tmp_path / "second")
    featurize(second)
    assert done == {"encoded": COUNT, "decoded": COUNT, "captions": DIFFERENT}
    assert np.array_equal(FeatureStore.open(second.store).rows(range(COUNT)), rows)
    told = capsys.readouterr().err
    assert f"{tmp_path / 'kept'}: 5 latents read, 0 encoded" in told
    assert ": 4 captions read, 0 encoded" in told
    plain = dataclasses.replace(job, store=tmp_path / "plain", cache_latents=None)
    featurize(plain)
    without = FeatureStore.open(plain.store).rows(range(COUNT))
    np.testing.assert_allclose(rows, without, rtol=2e-3, atol=1e-6)


def die_at_write(step: int) -> None:
    """Kill this process when half of its `step`-th row is written."""
    honest, remaining = os.pwrite, step

    def dying(file, content, start):
        nonlocal remaining
        if remaining == 0:
            honest(file, content[: len(content) // 2], start)
            os.kill(os.getpid(), signal.SIGKILL)
        remaining -= 1
        return honest(file, content, start)

    os.pwrite = dying


def bytes_of(config: FeaturizeConfig) -> dict[str, bytes]:
    """Return the bytes of all shards, and of all that is kept beside."""
    assert config.cache_latents is not None
    return contents(config.store, "**/*.h5") | contents(config.cache_latents)


def test_a_run_killed_at_a_row_goes_on_to_the_same_bytes(job, tmp_path):
    featurize(job)
    expected = bytes_of(job)
    assert len(expected) >= 5  # two shards, two records and two files of rows
    for step in range(0, COUNT + DIFFERENT, 2):  # the first and the last of both among them
        root: Path = tmp_path / f"killed-{step}"
        killed = dataclasses.replace(job, store=root / "store", cache_latents=root / "kept")

        def dying(config=killed, step=step):
            die_at_write(step)
            featurize(config)

        _, status = os.waitpid(start_beside(dying), 0)
        assert os.WIFSIGNALED(status), step
        featurize(killed)
        assert bytes_of(killed) == expected, step


def test_several_processes_share_what_is_kept(job, tmp_path, done):
    featurize(job)
    expected = contents(tmp_path / "kept")
    together = dataclasses.replace(job, cache_latents=tmp_path / "together")
    jobs = [dataclasses.replace(together, store=tmp_path / f"store-{number}") for number in (1, 2)]
    children = [start_beside(partial(featurize, each)) for each in jobs]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert contents(tmp_path / "together") == expected
    assert len({frozenset(contents(each.store, "**/*.h5").items()) for each in [job, *jobs]}) == 1
    before = dict(done)
    featurize(dataclasses.replace(together, store=tmp_path / "last"))
    assert done == before
