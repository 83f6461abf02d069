"""Images appended to a store: those it has come first, and their shards stay as they are."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.errors import DtrakStreamError, FingerprintMismatchError, InputError
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.changing import appended, grow
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from dtrak_stream.verification.options import VerifyConfig
from dtrak_stream.verification.run import verify
from tests.crashing import contents, finishes_before_step
from tests.small_jobs import random_pixels, save_images, small_job, spoil, stored, written_at

BEFORE, AFTER = 7, 12
PIXELS = random_pixels(AFTER)


@pytest.fixture
def job(model_folder, tmp_path) -> FeaturizeConfig:
    """Featurizing 7 images in shards of 3, done."""
    images = save_images(tmp_path / "images", PIXELS[:BEFORE])
    config = small_job(model_folder, images, tmp_path / "store")
    assert featurize(config).computed == BEFORE
    return config


def with_more_images(job: FeaturizeConfig) -> FeaturizeConfig:
    save_images(Path(job.images), PIXELS)
    return dataclasses.replace(job, append=True)


def rebuilt(job: FeaturizeConfig, root: Path) -> FeatureStore:
    featurize(dataclasses.replace(job, store=root, append=False))
    return FeatureStore.open(root)


def rows_of(store: FeatureStore) -> np.ndarray:
    return store.rows(range(len(store)))


def test_only_new_images_are_featurized_and_all_are_as_in_a_rebuild(job, tmp_path):
    before = written_at(job.store / "shards")
    again = with_more_images(job)
    assert featurize(again).computed == AFTER - BEFORE
    store = FeatureStore.open(job.store)
    assert written_at(job.store / "shards").items() >= before.items()
    assert store.layout.num_shards == 5
    anew = rebuilt(job, tmp_path / "anew")
    assert np.allclose(
        rows_of(store), rows_of(anew), rtol=0, atol=1e-6 * np.abs(rows_of(anew)).max()
    )
    assert store.ids[slice(None)] == anew.ids[slice(None)]
    assert store.fingerprint == anew.fingerprint
    assert store.layout.state == anew.layout.state


def test_what_is_appended_is_verified_and_computed_again_like_the_rest(job):
    featurize(with_more_images(job))
    assert verify(VerifyConfig(job.store, deep=AFTER, quiet=True)).checked == 1


@pytest.mark.parametrize("append", [True, False])
def test_the_same_command_finds_nothing_to_do(job, append):
    again = dataclasses.replace(with_more_images(job), rehash=True)
    featurize(again)
    before = contents(job.store)
    assert featurize(dataclasses.replace(again, append=append)).computed == 0
    assert contents(job.store) == before


def test_images_are_appended_again_and_again(job, tmp_path):
    for count in (8, 9, 12):
        save_images(Path(job.images), PIXELS[:count])
        featurize(dataclasses.replace(job, append=True))
    store, anew = FeatureStore.open(job.store), rebuilt(job, tmp_path / "anew")
    assert [change.samples for change in store.layout.history.changes] == [7, 8, 9, 12]
    assert np.allclose(
        rows_of(store), rows_of(anew), rtol=0, atol=1e-6 * np.abs(rows_of(anew)).max()
    )


def test_several_folders_become_one_training_set_by_a_list_that_grows(job, tmp_path):
    folders = {"first": PIXELS[:BEFORE], "second": PIXELS[BEFORE:]}
    paths = [
        path.relative_to(tmp_path).as_posix()
        for name, pixels in folders.items()
        for path in sorted(Path(save_images(tmp_path / name, pixels)).iterdir())
    ]
    listed = tmp_path / "all.csv"
    listed.write_text("\n".join(["path", *paths[:BEFORE]]))
    config = dataclasses.replace(job, images=f"list:{listed}", store=tmp_path / "grown")
    assert featurize(config).computed == BEFORE
    listed.write_text("\n".join(["path", *paths]))
    assert featurize(dataclasses.replace(config, append=True)).computed == AFTER - BEFORE
    assert [name.decode() for name in FeatureStore.open(config.store).ids[slice(None)]] == paths


def test_an_image_is_replaced_by_removing_it_and_appending_another(job):
    (job.store.parent / "rows.txt").write_text("2\n")
    remove(RemoveConfig((job.store,), rows=job.store.parent / "rows.txt"))
    featurize(with_more_images(job))
    store = FeatureStore.open(job.store)
    assert np.flatnonzero(~store.usable()).tolist() == [2]
    assert not rows_of(store)[2].any()
    assert verify(VerifyConfig(job.store, deep=4, quiet=True)).checked == 1


def test_bad_images_among_the_new_are_quarantined_and_removing_them_makes_up_for_it(job):
    again = with_more_images(job)
    spoil(Path(job.images) / "009.png")
    assert featurize(again).quarantined == 1
    assert [entry.row for entry in read_quarantine(job.store / "quarantine.jsonl")] == [9]
    (job.store.parent / "rows.txt").write_text("9\n")
    remove(RemoveConfig((job.store,), rows=job.store.parent / "rows.txt"))
    assert featurize(again).quarantined == 0


def test_without_being_told_to_more_images_are_refused(job):
    before = stored(job.store)
    again = dataclasses.replace(with_more_images(job), append=False)
    with pytest.raises(FingerprintMismatchError, match="take them with --append"):
        featurize(again)
    assert stored(job.store) == before


def other_image(images: Path) -> None:
    save_images(images, PIXELS[:1][:, ::-1])


def another_in_front(images: Path) -> None:
    save_images(images, PIXELS[:1], ["000-a.png"])


def fewer(images: Path) -> None:
    for image in sorted(images.iterdir())[BEFORE - 1 :]:
        image.unlink()


@pytest.mark.parametrize("change", [other_image, another_in_front, fewer])
def test_other_images_than_those_it_has_are_refused_before_anything_is_written(job, change):
    before = stored(job.store)
    again = with_more_images(job)
    change(Path(job.images))
    with pytest.raises(FingerprintMismatchError, match="images"):
        featurize(again)
    assert stored(job.store) == before


def test_other_options_are_refused(job):
    again = with_more_images(job)
    features = dataclasses.replace(again.features, seed=1)
    with pytest.raises(FingerprintMismatchError, match="seed"):
        featurize(dataclasses.replace(again, features=features))


def test_a_store_that_is_not_finished_is_refused(job):
    (job.store / "shards/00000001.h5").unlink()
    with pytest.raises(InputError, match="finish it"):
        featurize(with_more_images(job))
    assert not (job.store / "history.jsonl").exists()


def test_of_two_different_appends_at_once_the_later_one_is_refused(job):
    layout = read_layout(job.store)
    grow(appended(layout, "some", 9))
    with pytest.raises(DtrakStreamError, match="changed meanwhile"):
        grow(appended(layout, "others", 10))
    assert grow(appended(layout, "some", 9)).fingerprint.samples == 9


def test_killed_at_any_step_the_same_command_goes_on_to_the_same_store(job, tmp_path):
    again = with_more_images(job)
    kept = shutil.copytree(job.store, tmp_path / "kept")
    wanted, step = None, 0
    while True:
        shutil.rmtree(job.store)
        shutil.copytree(kept, job.store)
        over = finishes_before_step(lambda: featurize(again), step)
        assert read_layout(job.store).fingerprint.samples in (BEFORE, AFTER)
        featurize(again)
        layout = read_layout(job.store)
        found = stored(job.store)
        history = [(each.change, each.samples) for each in layout.history.changes]
        assert history == [("begun", BEFORE), ("appended", AFTER)]
        for name in ("history.jsonl", "store.json"):  # these tell the time
            found.pop(name)
        wanted = wanted or found
        assert found == wanted
        if over:
            break
        step += 4
    assert step > 15
