"""Which images a run is trained on, in which order, and which are left out."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dtrak_stream.cli.command_line import EXIT_QUARANTINED, run
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import (
    InputError,
)
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.training.batches import ImageBatches
from dtrak_stream.training.configuration import TrainingConfig
from dtrak_stream.training.run import train
from tests.training.tiny_runs import (
    EVERYTHING,
    folder_with_bad_images,
    tiny,
    trained_bytes,
)


def test_images_that_are_not_square_are_trained_on(tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((9, 4, 6, 3), np.uint8))
    config = tiny(tmp_path / "out", images=str(tmp_path / "wide.npy"), architecture=EVERYTHING)
    train(config, visible=False)
    assert load_denoiser(str(config.out)).image_shape == ImageShape(3, 4, 6)


def test_bad_images_are_left_out_and_listed(tmp_path):
    images = folder_with_bad_images(tmp_path / "images", {3, 7})
    config = tiny(tmp_path / "out", images=str(images))
    assert train(config, visible=False).quarantined == 2
    lines = (config.out / "quarantine.jsonl").read_text().splitlines()
    assert ["03.png" in lines[0], "07.png" in lines[1]] == [True, True]


def test_images_of_which_the_first_frame_was_taken_are_told_once(tmp_path, capsys):
    images = folder_with_bad_images(tmp_path / "images", set())
    with Image.open(images / "03.png") as first, Image.open(images / "04.png") as second:
        first.save(images / "03.png", save_all=True, append_images=[second])
    train(tiny(tmp_path / "out", images=str(images)))
    told = f"{images}: 1 image has several frames or pages; the first is taken (03.png)"
    assert capsys.readouterr().err.splitlines().count(told) == 1


def test_quarantine_sets_the_exit_code(tmp_path, capsys):
    images = folder_with_bad_images(tmp_path / "images", {3})
    arguments = f"--images {images} --out {tmp_path / 'out'} --steps 2 --layers-per-block 1"
    arguments += " --block-out-channels 8 --norm-num-groups 4 --attention-levels"
    with pytest.raises(SystemExit) as ended:
        run(TrainingConfig, train, arguments.split())
    assert ended.value.code == EXIT_QUARANTINED
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")


def test_subset_of_bad_images_only_is_refused(tmp_path):
    images = folder_with_bad_images(tmp_path / "images", {3, 7})
    np.save(tmp_path / "subset.npy", [3, 7])
    with pytest.raises(InputError, match="none of the 2 images"):
        train(
            tiny(tmp_path / "out", images=str(images), subset=tmp_path / "subset.npy"),
            visible=False,
        )


def test_subset_is_all_that_is_trained_on(tmp_path, monkeypatch):
    seen: Counter = Counter()
    decode = Images.image_and_origin
    monkeypatch.setattr(
        Images, "image_and_origin", lambda self, i: seen.update([i]) or decode(self, i)
    )
    np.save(tmp_path / "subset.npy", [20, 3, 9])
    train(tiny(tmp_path / "out", subset=tmp_path / "subset.npy"), visible=False)
    assert set(seen) == {3, 9, 20}


@pytest.mark.parametrize("numbers", [[0, 28], [-1], [1, 1], [0.5], [], [[1]]])
def test_bad_subset_is_refused(tmp_path, numbers):
    np.save(tmp_path / "subset.npy", numbers)
    with pytest.raises(InputError, match=r"from 0 to 27"):
        train(tiny(tmp_path / "out", subset=tmp_path / "subset.npy"), visible=False)


def test_missing_subset_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.npy"):
        train(tiny(tmp_path / "out", subset=tmp_path / "gone.npy"), visible=False)


def test_decoded_images_are_kept_within_the_memory_given(tmp_path, monkeypatch):
    decoded: Counter = Counter()
    decode = Images.image_and_origin
    monkeypatch.setattr(
        Images, "image_and_origin", lambda self, i: decoded.update([i]) or decode(self, i)
    )
    kept = trained_bytes(tiny(tmp_path / "kept"))
    assert set(decoded.values()) == {1}
    decoded.clear()
    not_kept = trained_bytes(tiny(tmp_path / "not_kept", image_cache_mib=0))
    assert set(decoded.values()) == {3}
    assert not_kept == kept


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 30), batch_size=st.integers(1, 35), epoch=st.integers(0, 3))
def test_each_epoch_has_every_image_once(count, batch_size, epoch):
    images = open_images(f"sklearn:digits[0:{count}]", visible=False)
    batches = ImageBatches(images, np.arange(count), batch_size, seed=3, cache_bytes=2**20)
    first = epoch * batches.steps_per_epoch
    parts = [batches.batch(first + step) for step in range(batches.steps_per_epoch)]
    seen = torch.cat([part.tensors for part in parts if part is not None])
    expected = torch.stack([images.image(number) for number in range(count)])
    assert sorted(map(str, seen.tolist())) == sorted(map(str, expected.tolist()))


def test_order_is_another_in_each_epoch():
    images = open_images("sklearn:digits[0:20]", visible=False)
    batches = ImageBatches(images, np.arange(20), batch_size=20, seed=3, cache_bytes=2**20)
    first, second = batches.batch(0), batches.batch(1)
    assert first is not None
    assert second is not None
    assert not torch.equal(first.tensors, second.tensors)


def test_flip_mirrors_about_half_of_the_images(tmp_path, monkeypatch):
    image = np.zeros((1, 4, 4, 1), np.uint8)
    image[:, :, 0] = 255
    np.save(tmp_path / "left.npy", image.repeat(40, 0))
    bright_columns: Counter = Counter()
    mix = DDPMSchedule.noisy_and_target

    def looking(self, images, noise, timesteps):
        bright_columns.update(images.argmax(-1)[:, 0, 0].tolist())
        return mix(self, images, noise, timesteps)

    monkeypatch.setattr(DDPMSchedule, "noisy_and_target", looking)
    config = tiny(tmp_path / "out", images=str(tmp_path / "left.npy"), batch_size=40, epochs=5)
    train(dataclasses.replace(config, flip=True), visible=False)
    assert set(bright_columns) == {0, 3}
    assert 60 < bright_columns[3] < 140
    bright_columns.clear()
    train(dataclasses.replace(config, out=tmp_path / "unflipped"), visible=False)
    assert set(bright_columns) == {0}
