"""A store that is asked for with other images says how many and which, not two hashes alone."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.other_images import with_what_differs
from dtrak_stream.featurizing.run import featurize
from tests.featurizing.small_runs import repaint


def told(job: FeaturizeConfig) -> str:
    with pytest.raises(FingerprintMismatchError, match="images differs: stored '") as refused:
        featurize(job)
    assert refused.value.note in str(refused.value)
    return refused.value.note


def rename(folder: str, names: dict[str, str]) -> None:
    for old, new in names.items():
        shutil.move(Path(folder) / old, Path(folder) / new)


def test_images_that_came_or_went_are_counted_and_named(job):
    folder = Path(job.images)
    for number in range(7, 12):
        shutil.copy(folder / "000.png", folder / f"{number:03d}.png")
    more = "7 images stored, 12 now; added: 007.png, 008.png, 009.png and 2 more"
    assert told(job) == f"{more}, which come last: take them with --append"
    rename(job.images, {"011.png": "000-a.png"})
    assert "--append" not in told(job)
    rename(job.images, {"000-a.png": "011.png"})
    assert told(dataclasses.replace(job, limit=5)) == (
        "7 images stored, 5 now; removed: 005.png, 006.png"
    )
    rename(job.images, {"001.png": "1b.png"})
    assert told(dataclasses.replace(job, limit=7)) == (
        "7 images stored, 7 now; added: 1b.png; removed: 001.png"
    )


def test_the_same_ids_with_other_contents_are_told_as_that(job):
    repaint(Path(job.images) / "002.png")
    same = "7 images stored, 7 now; their ids are the same: the contents of some differ, or how"
    assert told(job).startswith(same)


def test_the_same_ids_in_another_order_are_told_as_that(job, monkeypatch):
    images = open_images(job.images, None, job.image_options)
    honest = images.sample_ids
    monkeypatch.setattr(images, "sample_ids", lambda start, stop: honest(7 - stop, 7 - start)[::-1])
    refusal = FingerprintMismatchError("images", "a", "b", where=job.store, remedy="do that")
    note = with_what_differs(refusal, job.store, images).note
    assert note == "7 images stored, 7 now; their ids are the same in another order"


def test_of_an_unfinished_store_the_counts_are_told(job):
    (job.store / "shards" / "00000001.h5").unlink()
    (Path(job.images) / "006.png").unlink()
    assert told(job) == "7 images stored, 6 now"


def test_another_option_is_told_without_a_word_of_images(job):
    features = dataclasses.replace(job.features, seed=1)
    with pytest.raises(FingerprintMismatchError, match="seed differs") as refused:
        featurize(dataclasses.replace(job, features=features))
    assert refused.value.note == ""
