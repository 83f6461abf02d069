"""Images equal to earlier ones are told when they are featurized, and listed in the store."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from tests.small_jobs import random_pixels, save_images, small_job, written_at


@pytest.fixture
def with_copies(model_folder: str, tmp_path: Path) -> FeaturizeConfig:
    """A job of six images, of which two are copies of the second one."""
    images = save_images(tmp_path / "images", random_pixels(4))
    for name in ("copy.png", "004.png"):
        shutil.copy(images / "001.png", images / name)
    return dataclasses.replace(small_job(model_folder, images, tmp_path / "s"), quiet=False)


def test_equal_images_are_told_once_and_listed_in_the_store(with_copies, capsys):
    featurize(with_copies)
    line = "2 images are equal to an earlier one (the first: 004.png = 001.png)"
    assert capsys.readouterr().err.count(line) == 1
    listed = (with_copies.store / "equal_images.csv").read_text()
    assert listed == "sample_id,equal_to\n004.png,001.png\ncopy.png,001.png\n"


def test_a_finished_store_keeps_its_list_as_it_is(with_copies):
    featurize(with_copies)
    before = written_at(with_copies.store)
    assert featurize(with_copies).computed == 0
    assert written_at(with_copies.store) == before


def test_images_that_all_differ_are_not_listed(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(3))
    featurize(small_job(model_folder, images, tmp_path / "s"))
    assert not (tmp_path / "s" / "equal_images.csv").exists()
