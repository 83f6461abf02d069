"""The files of a run, where they lie, and how a run goes on."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.trajectories import TrajectoryFolder
from dtrak_stream.errors import FingerprintMismatchError, InterruptedRunError
from dtrak_stream.generation.folder import refuse_changed_images
from dtrak_stream.generation.run import generate
from dtrak_stream.generation.sampler import Sampler
from tests.generation.small_runs import config_of, made, save_model


def test_deleted_images_are_made_again_with_the_same_bytes(model, tmp_path):
    config = config_of(model, tmp_path, float_images=False)
    before = made(config)
    kept = (tmp_path / "00000.png").stat().st_mtime_ns
    for number in (2, 4):
        (tmp_path / f"0000{number}.png").unlink()
    assert made(config) == before
    assert (tmp_path / "00000.png").stat().st_mtime_ns == kept


def test_interrupted_run_continues_with_the_same_bytes(model, tmp_path, monkeypatch):
    whole = config_of(model, tmp_path / "whole", float_images=True)
    expected = made(whole)
    config = config_of(model, tmp_path / "stopped", float_images=True)
    sample = Sampler.sample

    def stopping(self, numbers):
        if numbers.start == 4:
            raise KeyboardInterrupt
        return sample(self, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "sample", stopping)
        with pytest.raises(InterruptedRunError, match="4 of 5 images are saved"):
            generate(config, visible=False)
    assert made(config) == expected
    assert (config.out / "images.npy").read_bytes() == (whole.out / "images.npy").read_bytes()
    assert not (config.out / "float_images").exists()


def test_float_images_are_the_images_before_rounding(model, tmp_path):
    generate(config_of(model, tmp_path, float_images=True), visible=False)
    floats = np.load(tmp_path / "images.npy")
    assert (floats.shape, floats.dtype) == ((5, 8, 8, 1), np.float32)
    assert np.abs(floats).max() <= 1
    rounded = open_images(f"{tmp_path}", visible=False)
    for number in range(5):
        difference = rounded.image(number).permute(1, 2, 0).numpy() - floats[number]
        assert np.abs(difference).max() <= 1 / 255 + 1e-6
        assert np.abs(difference).max() > 0


def test_more_images_can_be_added(model, tmp_path):
    config = config_of(model, tmp_path / "grown", count=2, float_images=True)
    made(config)
    grown = made(dataclasses.replace(config, count=5))
    whole = config_of(model, tmp_path / "whole", float_images=True)
    assert grown == made(whole)
    assert (config.out / "images.npy").read_bytes() == (whole.out / "images.npy").read_bytes()


def test_float_images_can_be_asked_for_later(model, tmp_path):
    config = config_of(model, tmp_path)
    before = made(config)
    assert made(dataclasses.replace(config, float_images=True)) == before
    assert np.load(tmp_path / "images.npy").shape == (5, 8, 8, 1)


def test_rgb_images_that_are_not_square(tmp_path):
    model = save_model(tmp_path / "model", channels=3, size=(4, 6))
    config = config_of(model, tmp_path / "out", count=1, float_images=True)
    made(config)
    with Image.open(config.out / "00000.png") as image:
        assert (image.mode, image.size) == ("RGB", (6, 4))
        pixels = np.asarray(image)
    floats = np.load(config.out / "images.npy")[0]  # (H, W, C)
    assert np.abs(pixels / 127.5 - 1 - floats).max() <= 1 / 255 + 1e-6


@pytest.fixture
def small_folders(monkeypatch):
    monkeypatch.setattr("dtrak_stream.data.numbered_files.FILES_PER_FOLDER", 2)


def test_many_images_lie_in_subfolders_in_the_order_of_their_numbers(
    model, tmp_path, small_folders
):
    config = config_of(model, tmp_path, count=5, save_trajectory=True, float_images=True)
    generate(config, visible=False)
    expected = ["00000.png", "00001.png", "00002/00002.png", "00002/00003.png", "00004/00004.png"]
    images = open_images(str(tmp_path), ImageShape(1, 8, 8), visible=False)
    assert images.sample_ids(0, len(images)) == expected
    floats = np.load(tmp_path / "images.npy")  # (5, 8, 8, 1)
    for number, sample_id in enumerate(expected):
        image = images.image(number)
        assert np.abs(image[0].numpy() - floats[number, ..., 0]).max() <= 1 / 255 + 1e-6
        timesteps, predicted = TrajectoryFolder(tmp_path).predictions(sample_id, image)
        assert len(timesteps) == len(predicted) == 4


def test_subfolders_go_on_where_they_were_interrupted(model, tmp_path, small_folders):
    config = config_of(model, tmp_path / "one", count=5)
    whole = made(config)
    for number in (0, 3):
        next(config.out.rglob(f"{number:05d}.png")).unlink()
    assert made(config) == whole
    assert made(dataclasses.replace(config, count=6)).keys() > whole.keys()


@pytest.mark.parametrize("lost", [[2], [4], [2, 3]])
def test_a_folder_begun_flat_stays_flat_whichever_file_is_lost(model, tmp_path, monkeypatch, lost):
    config = config_of(model, tmp_path / "one", count=5, save_trajectory=True)
    whole = made(config)
    monkeypatch.setattr("dtrak_stream.data.numbered_files.FILES_PER_FOLDER", 2)
    for number in lost:
        (config.out / f"{number:05d}.png").unlink()
        (config.out / "trajectory" / f"{number:05d}.npz").unlink()
    assert made(config) == whole
    assert not [*config.out.rglob("0000[0-9]/")]


def test_an_image_that_was_changed_since_it_was_made_is_refused(model, tmp_path):
    config = config_of(model, tmp_path)
    made(config)
    refuse_changed_images(tmp_path)
    changed = Image.open(tmp_path / "00003.png").point(lambda level: level ^ 1)
    changed.save(tmp_path / "00003.png")
    with pytest.raises(FingerprintMismatchError, match="images differs: stored"):
        refuse_changed_images(tmp_path)
    (tmp_path / "00003.png").unlink()
    made(config)
    refuse_changed_images(tmp_path)


def test_more_images_are_recorded_once_they_are_finished(model, tmp_path):
    made(config_of(model, tmp_path, count=3))
    before = json.loads((tmp_path / "images.json").read_text())
    made(config_of(model, tmp_path, count=5))
    after = json.loads((tmp_path / "images.json").read_text())
    assert (before["count"], after["count"]) == (3, 5)
    assert before["images"] != after["images"]
    refuse_changed_images(tmp_path)


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_images_without_a_record_of_them_are_taken_as_they_are(model, tmp_path, content):
    made(config_of(model, tmp_path))
    record = tmp_path / "images.json"
    record.unlink() if content is None else record.write_text(content)
    (tmp_path / "00003.png").unlink()
    refuse_changed_images(tmp_path)
