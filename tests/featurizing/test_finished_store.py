"""A finished store is taken as it is while no file changed, and nothing that changed is missed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from dtrak_stream.data import folder as folder_module
from dtrak_stream.data import images as images_module
from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    FingerprintMismatchError,
)
from dtrak_stream.features import gradient_features
from dtrak_stream.featurizing import checked as checked_module
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store import reader as reader_module
from dtrak_stream.store import taking_up as taking_up_module
from dtrak_stream.support import stamps as stamps_module
from tests.featurizing.small_runs import spoil_shard
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


def counted(monkeypatch, module, name):
    """Return a list that grows by one with each call of a function."""
    calls: list[object] = []
    honest = getattr(module, name)

    def counting(*arguments, **options):
        calls.append(arguments)
        return honest(*arguments, **options)

    monkeypatch.setattr(module, name, counting)
    return calls


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
    hashed = counted(monkeypatch, folder_module, "file_hash")
    checked = counted(monkeypatch, taking_up_module, "read_shard")
    before = written_at(job.store)
    assert featurize(dataclasses.replace(job, rehash=True)).computed == 0
    assert (len(hashed), len(checked)) == (7, 3)
    assert written_at(job.store) == before


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


def test_what_a_cpu_found_is_not_trusted_where_auto_is_a_gpu(job, monkeypatch):
    features = dataclasses.replace(job.features, device="auto")
    config = dataclasses.replace(job, features=features)
    found = []
    for has_gpu in (False, True):
        monkeypatch.setattr("torch.cuda.is_available", lambda has=has_gpu: has)
        inputs = checked_module.inputs_of(config)
        assert inputs is not None
        found.append(inputs)
    assert found[0].options != found[1].options
    assert found[0].source == found[1].source


def test_a_run_that_goes_on_does_not_hash_the_images_again(job, monkeypatch):
    whole = stored(job.store)
    (job.store / "shards" / "00000001.h5").unlink()
    monkeypatch.setattr(folder_module, "file_hash", forbidden)
    assert featurize(job).computed == 3
    assert stored(job.store) == whole


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
