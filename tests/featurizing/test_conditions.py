"""Features of models that are told what an image is of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.images import open_images
from dtrak_stream.errors import FingerprintMismatchError, InputError
from dtrak_stream.featurizing.opening import Identities
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.preparation import prepare
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.reader import FeatureStore
from tests.small_jobs import random_pixels, save_images, small_job

CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def job(labelled, tmp_path) -> FeaturizeConfig:
    images = save_images(tmp_path / "images", random_pixels(4))
    write_labels(images, [0, 1, 2, 1])
    return small_job(labelled, images, tmp_path / "s")


def write_labels(folder: Path, labels: list[Any]) -> None:
    rows = ({"file_name": f"{row:03}.png", "label": label} for row, label in enumerate(labels))
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def rows_of(config: FeaturizeConfig) -> np.ndarray:
    featurize(config)
    return FeatureStore.open(config.store).rows(range(4))


def test_features_are_of_the_image_and_its_label(job, tmp_path):
    first = rows_of(job)
    write_labels(Path(job.images), [0, 1, 3, 1])
    others = rows_of(dataclasses.replace(job, store=tmp_path / "others"))
    assert np.array_equal(first[[0, 1, 3]], others[[0, 1, 3]])
    assert not np.allclose(first[2], others[2])


def test_another_label_is_found_though_no_image_changed(job):
    assert featurize(job).computed == 4
    assert featurize(job).computed == 0
    write_labels(Path(job.images), [0, 1, 3, 1])
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(job)


def test_a_finished_store_is_taken_as_it_is_without_reading_labels(job, monkeypatch):
    featurize(job)
    monkeypatch.setattr("dtrak_stream.data.images.open_conditions", None)
    assert featurize(job).computed == 0


def test_a_store_tells_the_images_alone_from_what_they_are_of(job):
    featurize(job)
    layout = read_layout(job.store)
    alone = open_images(job.images, visible=False).identity()
    assert layout.fingerprint.images != alone
    assert images_of(layout) == alone
    assert prepare(job).images_identity() == alone


def test_a_run_that_goes_on_reads_no_image_to_know_images_and_labels_apart(job, monkeypatch):
    featurize(job)
    layout = read_layout(job.store)
    alone = layout.images_alone()
    layout.shard_path(1).unlink()
    monkeypatch.setattr("dtrak_stream.data.folder.file_hash", None)
    prepared = prepare(job)
    assert prepared.missing == [1]
    assert prepared.images is not None
    assert prepared.images.images_identity() == alone
    prepared.close()


def test_another_job_of_the_same_images_and_labels_hashes_no_image(job, tmp_path, monkeypatch):
    known: Identities = {}
    featurize(job, identities=known)
    monkeypatch.setattr("dtrak_stream.data.folder.file_hash", None)
    other = dataclasses.replace(
        job, store=tmp_path / "other", features=dataclasses.replace(job.features, seed=1)
    )
    assert featurize(other, identities=known).computed == 4
    first, second = read_layout(job.store), read_layout(other.store)
    assert first.fingerprint.images == second.fingerprint.images
    assert first.images_alone() == second.images_alone() != ""


def test_classes_that_labels_stand_for_are_kept_with_the_store(labelled, tmp_path):
    for name in CLASSES:
        save_images(tmp_path / "images" / name, random_pixels(1))
    config = small_job(labelled, tmp_path / "images", tmp_path / "s")
    featurize(config)
    assert read_layout(config.store).class_names() == tuple(CLASSES)
    assert prepare(config).class_names == tuple(CLASSES)


def test_other_names_of_classes_in_a_file_are_found(labelled, tmp_path):
    for name in CLASSES:
        save_images(tmp_path / "images" / name, random_pixels(1))
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES))
    options = ConditionOptions(class_names=str(names))
    config = dataclasses.replace(
        small_job(labelled, tmp_path / "images", tmp_path / "s"), condition_options=options
    )
    featurize(config)
    names.write_text("\n".join(CLASSES[::-1]))
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(config)


def test_missing_labels_are_refused_before_anything_is_written(job):
    write_labels(Path(job.images), [0, None, 2, None])
    with pytest.raises(InputError, match=r"2 images have no class label .*\(001\.png, 003\.png\)"):
        featurize(job)
    assert not job.store.exists()


def test_what_a_model_is_not_told_is_said_and_changes_nothing(model_folder, tmp_path, capsys, job):
    plain = dataclasses.replace(job, model=model_folder)
    expected = rows_of(plain)
    options = ConditionOptions(caption_template="a {label}", label_column="label")
    other = dataclasses.replace(plain, store=tmp_path / "o", condition_options=options)
    capsys.readouterr()
    assert np.array_equal(rows_of(other), expected)
    told = "--caption-template, --label-column: not used, what is computed depends on no caption"
    assert told in capsys.readouterr().err
    assert read_layout(plain.store).fingerprint == read_layout(other.store).fingerprint
