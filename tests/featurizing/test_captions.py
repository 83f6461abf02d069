"""Features of models that are told captions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.reader import FeatureStore
from tests.model.folders import editing
from tests.model.text_pipelines import SIZE, TEXT_PIPELINES, TEXTS
from tests.small_jobs import small_job


@pytest.fixture
def job(tmp_path) -> FeaturizeConfig:
    model = TEXT_PIPELINES["sd"].save(tmp_path / "model")
    return small_job(model, save_captioned(tmp_path / "images", TEXTS), tmp_path / "s")


def save_captioned(folder: Path, texts: tuple[str, ...]) -> Path:
    folder.mkdir(exist_ok=True)
    size = (len(texts), SIZE, SIZE, 3)
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    for row, (image, text) in enumerate(zip(pixels, texts)):
        Image.fromarray(image).save(folder / f"{row:03}.png")
        (folder / f"{row:03}.txt").write_text(text or "none")
    return folder


def rows_of(config: FeaturizeConfig) -> np.ndarray:
    featurize(config)
    return FeatureStore.open(config.store).rows(range(3))


def test_features_are_of_the_image_and_its_caption(job, tmp_path):
    first = rows_of(job)
    save_captioned(tmp_path / "images", (*TEXTS[:2], "a dog"))
    others = rows_of(dataclasses.replace(job, store=tmp_path / "others"))
    assert np.array_equal(first[:2], others[:2])
    assert not np.allclose(first[2], others[2])


def test_captions_that_were_cut_are_told_at_the_end(job, tmp_path, capsys):
    save_captioned(tmp_path / "images", ("a red cat", "x" * 11, "9 dogs and some more of them"))
    featurize(dataclasses.replace(job, quiet=False))
    line = (
        "2 different captions are longer than the 12 tokens that the model reads, the rest has no "
        "influence ('xxxxxxxxxxx', '9 dogs and some more of them')"
    )
    assert capsys.readouterr().err.splitlines().count(line) == 1


def test_a_store_of_another_text_encoder_is_refused(job, tmp_path):
    featurize(job)
    with editing(tmp_path / "model" / "pipeline" / "text_encoder" / "config.json") as config:
        config["hidden_act"] = "gelu"
    with pytest.raises(FingerprintMismatchError, match="model"):
        featurize(job)
