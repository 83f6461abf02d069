"""Features that are zero throughout are counted and told; no image is left out for it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.reader import FeatureStore
from tests.conftest import build_unet, save_model
from tests.small_jobs import random_pixels, save_images, small_job

ZERO = (1, 3, 4)  # two of them in one shard


@pytest.fixture
def job(tmp_path):
    """Return a job of pixels as they are, some images of which are zero."""
    pixels = np.random.default_rng(0).uniform(-1, 1, (7, 8, 8)).astype(np.float32)
    pixels[list(ZERO)] = 0
    np.save(tmp_path / "images.npy", pixels)

    def job_of(**options):
        return small_job(
            "",
            tmp_path / "images.npy",
            tmp_path / "store",
            output_function="pixels",
            execution=ExecutionOptions(),
            **options,
        )

    return job_of


def told(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "zero throughout" in line]


def test_rows_of_zeros_are_counted_over_all_shards(job, tmp_path, capsys):
    assert featurize(job()).quarantined == 0
    assert told(capsys) == ["3 of 7 rows are zero throughout: their scores are zero"]
    assert FeatureStore.open(tmp_path / "store").usable().all()


def test_a_finished_store_tells_of_them_again(job, capsys):
    featurize(job())
    told(capsys)
    featurize(job())
    assert told(capsys) == ["3 of 7 rows are zero throughout: their scores are zero"]


def test_a_shard_that_is_computed_again_is_not_counted_twice(job, tmp_path, capsys):
    featurize(job())
    shards = sorted((tmp_path / "store" / "shards").glob("*.h5"))
    for shard in shards[:2]:
        shard.unlink()
    told(capsys)
    assert featurize(job()).computed == 6
    assert told(capsys) == ["3 of 7 rows are zero throughout: their scores are zero"]


def test_that_none_is_zero_is_not_told(job, tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.full((7, 8, 8), -0.5, np.float32))
    featurize(job())
    assert told(capsys) == []
    assert not re.search("zero", (tmp_path / "store" / "store.json").read_text())


def test_float16_is_named_as_what_may_have_made_them_so(tmp_path, capsys):
    unet = build_unet()
    with torch.no_grad():
        unet.conv_out.weight.zero_()
        unet.conv_out.bias.zero_()
    model = save_model(tmp_path / "model", unet)
    images = save_images(tmp_path / "images", random_pixels(2))
    featurize(small_job(model, images, tmp_path / "store", precision="float16"))
    assert told(capsys) == [
        "2 of 2 rows are zero throughout (float16 may have made them so): their scores are zero"
    ]
