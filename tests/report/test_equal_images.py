"""A page tells of which training images there are several."""

from __future__ import annotations

import dataclasses

import h5py
import pytest

import dtrak_stream
from dtrak_stream.report.equal_images import equal_images_shown
from tests.attribution.jobs import job
from tests.report.conftest import read_page
from tests.small_jobs import random_pixels, save_images

REMARK = "one of 3 equal images"


@pytest.fixture
def config(model_folder, tmp_path) -> dtrak_stream.AttributeConfig:
    pixels = random_pixels(5)[[0, 1, 2, 1, 1]]
    train = save_images(tmp_path / "train", pixels)
    query = save_images(tmp_path / "query", pixels[1:2])
    return job(model_folder, (train, query), tmp_path / "run")


def ids_with(page, remark):
    entries = page.all("li")
    return {entry.all("span", "id")[0].text for entry in entries if remark in entry.words}


def test_a_proponent_that_is_one_of_several_equal_images_says_so(config):
    page = read_page(dtrak_stream.attribute(config).path)
    assert ids_with(page, REMARK) == {"001.png", "003.png", "004.png"}
    assert ids_with(page, "equal images") == ids_with(page, REMARK)
    others = dataclasses.replace(config, query=f"more={config.query}")
    page = read_page(dtrak_stream.attribute(others).path)
    assert ids_with(page, REMARK) == {"001.png", "003.png", "004.png"}


def test_a_list_of_other_images_is_not_looked_at(config):
    scores = dtrak_stream.attribute(config).scores
    names = ("001.png", "003.png", "004.png")
    with dtrak_stream.ScoresFile(scores) as opened:
        assert equal_images_shown(opened, [0], 5) == dict.fromkeys(names, 3)
        assert set(equal_images_shown(opened, [0], 1)) < set(names)
    with h5py.File(scores, "r+") as file:
        file.attrs["train_images"] = "others"
    with dtrak_stream.ScoresFile(scores) as opened:
        assert equal_images_shown(opened, [0], 5) == {}


def test_a_page_is_made_anew_when_its_list_changes(config):
    dtrak_stream.attribute(config)
    path = config.run / "train" / "equal_images.csv"
    path.write_text("sample_id,equal_to\n003.png,001.png\n")
    page = read_page(dtrak_stream.attribute(config).path)
    assert ids_with(page, "one of 2 equal images") == {"001.png", "003.png"}
