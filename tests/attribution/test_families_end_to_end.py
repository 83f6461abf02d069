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
from tests.model.flow_pipelines import FLOW_PIPELINES
from tests.model.pipelines import PIPELINES
from tests.model.text_pipelines import TEXT_PIPELINES

FAMILIES = PIPELINES | TEXT_PIPELINES | FLOW_PIPELINES
TRAIN, QUERIES = 6, 2
COPIED = 3
"""This training image is the first query as well."""


def save_images(folder: Path, pixels: np.ndarray, first_class: int = 0, *, captioned: bool) -> Path:
    """Write pixels (N, H, W, C) uint8 as PNG files with captions, in folders of three classes."""
    for number, image in enumerate(pixels):
        of_class = folder / f"class-{(number + first_class) % 3}"
        of_class.mkdir(parents=True, exist_ok=True)
        shown = image.squeeze(2) if image.shape[2] == 1 else image
        Image.fromarray(shown).save(of_class / f"{number:03d}.png")
        if captioned:
            (of_class / f"{number:03d}.txt").write_text(f"a cat of {of_class.name}")
    return folder


def sources_for(shape: ImageShape, folder: Path, *, captioned: bool) -> tuple[Path, Path]:
    size = (TRAIN, shape.height, shape.width, shape.channels)
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    queries = np.stack([pixels[COPIED], 255 - pixels[0]])
    train = save_images(folder / "train", pixels, captioned=captioned)
    return train, save_images(folder / "query", queries, first_class=COPIED, captioned=captioned)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_attributed_from_images_to_the_report(tmp_path, family):
    model = FAMILIES[family].save(tmp_path / "model")
    options = FAMILIES[family].options
    denoiser = load_denoiser(model, options)
    captioned = denoiser.conditioned_on == "caption"
    sources = sources_for(denoiser.image_shape, tmp_path, captioned=captioned)
    little = {"damping": "0.001"}  # with more, images of long gradients may come first
    told = {"size": options.size, "t5_tokens": options.t5_tokens}
    result = dtrak_stream.attribute(job(model, sources, tmp_path / "run", scores=little, **told))
    assert result.quarantined == 0
    assert result.path == tmp_path / "run" / "report" / "index.html"
    found = datasets(result.scores)
    scores, ids = found["scores"], found["train_id"].tolist()
    assert scores.shape == (QUERIES, TRAIN)
    assert np.isfinite(scores).all()
    assert ids[scores[0].argmax()].endswith(f"{COPIED:03d}.png".encode())
