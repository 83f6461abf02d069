"""A finished store is taken as it is while no file changed, and nothing that changed is missed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data import folder as folder_module
from dtrak_stream.data import images as images_module
from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.features import gradient_features
from dtrak_stream.featurizing import checked as checked_module
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store import reader as reader_module
from dtrak_stream.store import taking_up as taking_up_module
from dtrak_stream.support import stamps as stamps_module
from tests.small_jobs import random_pixels, save_images, small_job, stored, written_at


def forbidden(*_arguments: object, **_options: object) -> None:
    raise AssertionError("this is not to be opened")


@pytest.fixture
def nothing_opens(monkeypatch):
    """Let whoever opens a source, an image, a model or a shard fail."""
    monkeypatch.setattr(images_module, "open_source", forbidden)
    monkeypatch.setattr(Image, "open", forbidden)
    monkeypatch.setattr(gradient_features, "load_denoiser", forbidden)
    monkeypatch.setattr(taking_up_module, "read_shard", forbidden)
    monkeypatch.setattr(reader_module, "read_shard", forbidden)


@pytest.fixture
def job(model_folder, tmp_path):
    """A finished job with images and a model of its own."""
    images = save_images(tmp_path / "images", random_pixels(7))
    model = shutil.copytree(model_folder, tmp_path / "model")
    config = small_job(str(model), images, tmp_path / "s")
    assert featurize(config).computed == 7
    return config


def counted(monkeypatch, module, name):
    """Return a list that grows by one with each call of a function."""
    calls: list[object] = []
    honest = getattr(module, name)

    def counting(*arguments, **options):
        calls.append(arguments)
        return honest(*arguments, **options)

    monkeypatch.setattr(module, name, counting)
    return calls


def edit(path: Path, place: int = -1) -> None:
    """Change a byte and put the old times back, as far as a user can."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def spoil_shard(path: Path) -> None:
    """Change a bit of the features in a shard."""
    with h5py.File(path) as file:
        place = file["features"].id.get_offset()
    edit(path, place)


def repaint(path: Path) -> None:
    """Make it another image, and put the old times back."""
    status = path.stat()
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_finished_store_opens_no_image_no_model_and_no_shard(job, nothing_opens, capsys):
    before = written_at(job.store)
    assert featurize(job).computed == 0
    assert "already complete, 7 rows in 3 shards" in capsys.readouterr().err
    assert written_at(job.store) == before


def test_quarantined_samples_of_a_finished_store_are_still_counted(
    model_folder, tmp_path, monkeypatch
):
    images = save_images(tmp_path / "images", random_pixels(7))
    (images / "002.png").write_bytes(b"not an image")
    config = small_job(model_folder, images, tmp_path / "s")
    featurize(config)
    monkeypatch.setattr(images_module, "open_source", forbidden)
    assert featurize(config).quarantined == 1


@pytest.mark.parametrize("function", ["pixels", "probe(2)", "simple"])
def test_every_kind_of_feature_is_taken_as_it_is(
    model_folder, tmp_path, function, request, monkeypatch
):
    images = save_images(tmp_path / "images", random_pixels(5))
    options = {"output_function": function}
    if function == "pixels":
        options["projector"] = "identity"
    config = small_job(model_folder, images, tmp_path / "s", **options)
    if function == "pixels":
        config = dataclasses.replace(config, execution=type(config.execution)())
    featurize(config)
    request.getfixturevalue("nothing_opens")
    assert featurize(config).computed == 0


def test_with_rehash_everything_is_read_again(job, monkeypatch):
    hashed = counted(monkeypatch, folder_module, "_file_hash")
    checked = counted(monkeypatch, taking_up_module, "read_shard")
    before = written_at(job.store)
    assert featurize(dataclasses.replace(job, rehash=True)).computed == 0
    assert (len(hashed), len(checked)) == (7, 3)
    assert written_at(job.store) == before


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


@pytest.mark.parametrize("shard", ["00000000.h5", "00000002.h5"])
def test_a_shard_of_other_bytes_is_found(job, shard):
    spoil_shard(job.store / "shards" / shard)
    with pytest.raises(CorruptFileError, match=shard):
        featurize(job)
    redone = dataclasses.replace(job, redo_corrupt=True)
    assert featurize(redone).computed in (1, 3)
    assert featurize(job).computed == 0


@pytest.mark.parametrize(
    "changes",
    [{"timesteps": "list:0"}, {"seed": 1}, {"proj_dim": 128}, {"rows_per_shard": 4}],
    ids=str,
)
def test_an_option_that_changes_features_is_refused_as_ever(job, changes):
    features = dataclasses.replace(job.features, **changes)
    with pytest.raises(FingerprintMismatchError):
        featurize(dataclasses.replace(job, features=features))


def test_an_option_that_means_nothing_here_is_refused_as_ever(job, tmp_path):
    with pytest.raises(ConfigurationError, match="--trajectory"):
        featurize(dataclasses.replace(job, trajectory=tmp_path))


def test_another_range_of_the_images_is_refused(job):
    with pytest.raises(FingerprintMismatchError):
        featurize(dataclasses.replace(job, limit=3))
    with pytest.raises(FingerprintMismatchError):
        featurize(dataclasses.replace(job, images=f"{job.images}[1:]"))


def test_images_that_are_gone_are_refused(job):
    shutil.rmtree(job.images)
    with pytest.raises(InputError, match="does not exist"):
        featurize(job)


def test_touched_files_are_read_again_and_then_trusted(job, request):
    for path in (Path(job.images) / "001.png", job.store / "shards" / "00000001.h5"):
        path.touch()
        assert featurize(job).computed == 0
    request.getfixturevalue("nothing_opens")
    assert featurize(job).computed == 0


def test_a_copy_of_a_store_is_checked_once(job, tmp_path, request):
    shutil.copytree(job.store, tmp_path / "copy")
    copy = dataclasses.replace(job, store=tmp_path / "copy")
    spoil_shard(copy.store / "shards" / "00000001.h5")
    with pytest.raises(CorruptFileError):
        featurize(copy)
    spoil_shard(copy.store / "shards" / "00000001.h5")
    assert featurize(copy).computed == 0
    request.getfixturevalue("nothing_opens")
    assert featurize(copy).computed == 0


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"options": 1, "source": {}}', '{"source": null}']
)
def test_a_record_that_says_nothing_is_written_anew(job, content):
    path = job.store / checked_module.FILE_NAME
    told = path.read_text()
    path.write_text(content)
    assert featurize(job).computed == 0
    assert path.read_text() == told


def test_the_record_of_another_store_is_not_believed(job, tmp_path):
    other = dataclasses.replace(
        job, store=tmp_path / "other", features=dataclasses.replace(job.features, seed=1)
    )
    featurize(other)
    shutil.copy(job.store / checked_module.FILE_NAME, other.store / checked_module.FILE_NAME)
    with pytest.raises(FingerprintMismatchError):
        featurize(dataclasses.replace(job, store=other.store))


def test_another_version_of_this_package_reads_everything_again(job, tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("features = 2")
    monkeypatch.setattr(stamps_module, "_PACKAGE", tmp_path / "package")
    opened = counted(monkeypatch, images_module, "open_source")
    assert featurize(job).computed == 0
    assert opened


def test_a_run_that_goes_on_does_not_hash_the_images_again(job, monkeypatch):
    whole = stored(job.store)
    (job.store / "shards" / "00000001.h5").unlink()
    monkeypatch.setattr(folder_module, "_file_hash", forbidden)
    assert featurize(job).computed == 3
    assert stored(job.store) == whole


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
    honest = folder_module._file_hash

    def hash_and_repaint(path: Path) -> bytes:
        digest = honest(path)
        if path.name == "002.png":
            repaint(path)
        return digest

    monkeypatch.setattr(folder_module, "_file_hash", hash_and_repaint)
    featurize(config)
    monkeypatch.setattr(folder_module, "_file_hash", honest)
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


def test_a_store_that_is_not_to_be_written_to_is_still_found_finished(job, monkeypatch):
    (job.store / checked_module.FILE_NAME).unlink()

    def refused(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checked_module, "write_json", refused)
    assert featurize(job).computed == 0


def test_the_record_is_small_however_many_images_there_are(job):
    record = json.loads((job.store / checked_module.FILE_NAME).read_text())
    assert record["source"]["files"] == 7
    assert len(json.dumps(record)) < 1000
