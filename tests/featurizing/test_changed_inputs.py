"""An image, a model or a shard that changed is found before a store is gone on with."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import datasets
import pytest

from dtrak_stream.data import folder as folder_module
from dtrak_stream.data.source import file_hash
from dtrak_stream.errors import (
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.featurizing import checked as checked_module
from dtrak_stream.featurizing.run import featurize
from tests.featurizing.small_runs import edit, repaint, spoil_shard
from tests.small_jobs import random_pixels, save_images, small_job


def test_an_image_of_other_bytes_is_found(job):
    repaint(Path(job.images) / "003.png")
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(job)


def test_an_image_more_is_found(job):
    save_images(Path(job.images), random_pixels(1, seed=9), ["100.png"])
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(job)


def test_other_weights_are_found(job):
    edit(next(Path(job.model).glob("unet/*.safetensors")))
    with pytest.raises(FingerprintMismatchError, match="weights"):
        featurize(job)


def test_another_schedule_is_found(job):
    path = Path(job.model) / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"sample"'))
    with pytest.raises(FingerprintMismatchError, match="model"):
        featurize(job)


@pytest.mark.parametrize("folder", ["checkpoint-7", "checkpoint-7/unet"])
def test_another_schedule_beside_a_checkpoint_is_found(tmp_path, model_folder, job, folder):
    run = Path(shutil.copytree(model_folder, tmp_path / "run"))
    (run / "model_index.json").unlink()
    (run / "checkpoint-7").mkdir()
    (run / "unet").rename(run / "checkpoint-7" / "unet")
    config = dataclasses.replace(job, model=str(run / folder), store=tmp_path / "checkpoint")
    assert featurize(config).computed == len(list(Path(job.images).iterdir()))
    assert featurize(config).computed == 0
    path = run / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"sample"'))
    with pytest.raises(FingerprintMismatchError, match="model"):
        featurize(config)


@pytest.mark.parametrize("shard", ["00000000.h5", "00000002.h5"])
def test_a_shard_of_other_bytes_is_found(job, shard):
    spoil_shard(job.store / "shards" / shard)
    with pytest.raises(CorruptFileError, match=shard):
        featurize(job)
    redone = dataclasses.replace(job, redo_corrupt=True)
    assert featurize(redone).computed in (1, 3)
    assert featurize(job).computed == 0


def test_another_range_of_the_images_is_refused(job):
    with pytest.raises(FingerprintMismatchError):
        featurize(dataclasses.replace(job, limit=3))
    with pytest.raises(FingerprintMismatchError):
        featurize(dataclasses.replace(job, images=f"{job.images}[1:]"))


def test_images_that_are_gone_are_refused(job):
    shutil.rmtree(job.images)
    with pytest.raises(InputError, match="does not exist"):
        featurize(job)


def test_an_image_that_changed_before_a_run_goes_on_is_found(job):
    (job.store / "shards" / "00000001.h5").unlink()
    repaint(Path(job.images) / "003.png")
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(job)


def test_an_image_that_changes_while_it_is_hashed_is_found_by_the_next_run(
    model_folder, tmp_path, monkeypatch
):
    images = save_images(tmp_path / "images", random_pixels(4))
    config = small_job(model_folder, images, tmp_path / "s")

    def hash_and_repaint(path: Path) -> bytes:
        digest = file_hash(path)
        if path.name == "002.png":
            repaint(path)
        return digest

    monkeypatch.setattr(folder_module, "file_hash", hash_and_repaint)
    featurize(config)
    monkeypatch.setattr(folder_module, "file_hash", file_hash)
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(config)


def test_an_image_that_changes_during_the_run_is_found_by_the_next_run(job, tmp_path, monkeypatch):
    config = dataclasses.replace(job, store=tmp_path / "t")
    honest = checked_module.keep_checked
    calls: list[object] = []

    def repaint_first(layout, inputs):
        if not calls:
            repaint(Path(job.images) / "002.png")
        calls.append(layout)
        honest(layout, inputs)

    monkeypatch.setattr("dtrak_stream.featurizing.preparation.keep_checked", repaint_first)
    featurize(config)
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(config)


def test_images_outside_of_their_data_set_are_read_every_time(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(4))
    cells = [{"bytes": None, "path": str(file)} for file in sorted(images.iterdir())]
    rows = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    rows.to_parquet(tmp_path / "a.parquet")
    config = small_job(model_folder, tmp_path / "a.parquet", tmp_path / "s")
    featurize(config)
    assert not (config.store / checked_module.FILE_NAME).exists()
    repaint(images / "002.png")
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(config)
