"""Every family of models from images to the report: features, Gram matrix, scores, page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dtrak_stream
from dtrak_stream.data.options import ImageShape
from dtrak_stream.model.loading import load_denoiser
from tests.attribution.jobs import datasets, job
from tests.model.pipelines import PIPELINES

TRAIN, QUERIES = 6, 2
COPIED = 3
"""This training image is the first query as well."""


def save_images(folder: Path, pixels: np.ndarray, first_class: int = 0) -> Path:
    """Write pixels (N, H, W, C) uint8 as PNG files, in folders of three classes."""
    for number, image in enumerate(pixels):
        of_class = folder / f"class-{(number + first_class) % 3}"
        of_class.mkdir(parents=True, exist_ok=True)
        shown = image.squeeze(2) if image.shape[2] == 1 else image
        Image.fromarray(shown).save(of_class / f"{number:03d}.png")
    return folder


def sources_for(shape: ImageShape, folder: Path) -> tuple[Path, Path]:
    size = (TRAIN, shape.height, shape.width, shape.channels)
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    queries = np.stack([pixels[COPIED], 255 - pixels[0]])
    train = save_images(folder / "train", pixels)
    return train, save_images(folder / "query", queries, first_class=COPIED)


@pytest.mark.parametrize("family", PIPELINES)
def test_a_family_is_attributed_from_images_to_the_report(tmp_path, family):
    model = PIPELINES[family].save(tmp_path / "model")
    sources = sources_for(load_denoiser(model).image_shape, tmp_path)
    result = dtrak_stream.attribute(job(model, sources, tmp_path / "run"))
    assert result.quarantined == 0
    assert result.path == tmp_path / "run" / "report" / "index.html"
    found = datasets(result.scores)
    scores, ids = found["scores"], found["train_id"].tolist()
    assert scores.shape == (QUERIES, TRAIN)
    assert np.isfinite(scores).all()
    assert ids[scores[0].argmax()].endswith(f"{COPIED:03d}.png".encode())
