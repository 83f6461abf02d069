"""A store whose run was killed at any step goes on to the same bytes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from pathlib import Path

import pytest

from dtrak_stream.data.images import Images
from dtrak_stream.errors import (
    InterruptedRunError,
)
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.quarantine import read_quarantine
from tests.crashing import finishes_before_step
from tests.featurizing.small_runs import CORRUPT, shards_in
from tests.small_jobs import (
    HOOKED,
    random_pixels,
    save_images,
    small_job,
    spoil,
    stored,
    written_at,
)


def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(model_folder, spoilt, tmp_path):
    whole = small_job(model_folder, spoilt, tmp_path / "whole", timesteps="list:500")
    featurize(whole)
    step, starts = 0, set()
    while True:
        config = dataclasses.replace(whole, store=tmp_path / str(step))
        finished = finishes_before_step(lambda c=config: featurize(c), step)  # type: ignore[misc]
        kept = written_at(config.store / "shards")
        complete = {name: kept[name] for name in shards_in(config.store)}
        assert set(complete) == {f"{shard:08d}.h5" for shard in range(len(complete))}
        result = featurize(config)
        assert result.computed == (8, 5, 2, 0)[len(complete)]
        assert complete.items() <= written_at(config.store / "shards").items()
        assert stored(config.store) == stored(whole.store)
        assert (config.store / "config.yaml").exists()
        starts.add(len(complete))
        if finished:
            break
        step += 1
    assert starts == {0, 1, 2, 3}
    # at least plan, configuration, joined view, and for each shard the ledger and itself
    assert step >= 3 * 3 + 3 * (1 + 3)


def test_kills_in_a_row_end_with_the_same_bytes(model_folder, spoilt, tmp_path):
    """The run goes on from a folder that has been killed many times, and not always early."""
    config = small_job(model_folder, spoilt, tmp_path / "s", execution=HOOKED)
    unhindered = dataclasses.replace(config, store=tmp_path / "t")
    featurize(unhindered)
    deaths = 0
    while not finishes_before_step(lambda: featurize(config), 2 + deaths):
        deaths += 1
        assert deaths < 50, "no progress from one restart to the next"
    assert deaths > 3
    assert stored(config.store) == stored(unhindered.store)


@pytest.mark.parametrize("torn", ["first", "later"])
def test_a_ledger_entry_torn_by_a_crash_is_written_again(model_folder, spoilt, whole, begun, torn):
    """A power cut may leave half a line, and no shard that it belongs to."""
    missing = range(0 if torn == "first" else 1, 3)
    for shard in missing:
        (begun / "shards" / f"{shard:08d}.h5").unlink()
    lines = (whole / "quarantine.jsonl").read_bytes().splitlines(keepends=True)
    (begun / "quarantine.jsonl").write_bytes(b"".join(lines[: missing.start]) + lines[1][:20])
    featurize(small_job(model_folder, spoilt, begun))
    assert stored(begun) == stored(whole)


def test_resuming_a_store_with_quarantined_samples_keeps_the_ledger(
    model_folder, spoilt, whole, begun
):
    (begun / "shards" / "00000002.h5").unlink()
    result = featurize(small_job(model_folder, spoilt, begun))
    assert (result.quarantined, result.computed) == (3, 2)
    assert stored(begun) == stored(whole)
    assert [entry.sample_id for entry in read_quarantine(begun / "quarantine.jsonl")] == [*CORRUPT]


def test_a_resumed_store_is_computed_as_it_was_begun(model_folder, spoilt, tmp_path):
    """The way that was fastest is chosen once, since rounding depends on it."""
    config = small_job(model_folder, spoilt, tmp_path / "s", execution=ExecutionOptions())
    featurize(config)
    resumed = Path(shutil.copytree(config.store, tmp_path / "resumed"))
    (resumed / "shards" / "00000001.h5").unlink()
    featurize(dataclasses.replace(config, store=resumed))
    assert stored(resumed) == stored(config.store)


def test_a_missing_joined_view_is_written_again(model_folder, spoilt, whole, begun):
    (begun / "features.h5").unlink()
    assert featurize(small_job(model_folder, spoilt, begun)).computed == 0
    assert stored(begun) == stored(whole)


def test_what_killed_writes_left_behind_is_removed(model_folder, spoilt, whole, begun):
    for name in ("shards/00000001.h5", "features.h5", "quarantine.jsonl"):
        (begun / f"{name}.partial").write_bytes(b"torn")
    featurize(small_job(model_folder, spoilt, begun))
    assert stored(begun) == stored(whole)


def test_an_interrupt_in_python_says_what_is_done(
    model_folder, spoilt, whole, tmp_path, monkeypatch
):
    config = small_job(model_folder, spoilt, tmp_path / "s")
    decode = Images.image_and_origin

    def interrupted_at_the_fifth(self, index):
        if index == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return decode(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Images, "image_and_origin", interrupted_at_the_fifth)
        with pytest.raises(InterruptedRunError, match=r"[0-2] of 3 shards of .* are done and kept"):
            featurize(config)
    assert not list(config.store.rglob("*.partial"))
    assert featurize(config).computed in (8, 5, 2)
    assert stored(config.store) == stored(whole)


def test_an_interrupt_within_a_shard_keeps_its_rows_with_their_reasons(
    model_folder, tmp_path, monkeypatch
):
    """The second of three shards: a corrupt image and a good one are done, one is not."""
    images = save_images(tmp_path / "images", random_pixels(8))
    for name in ("001.png", "003.png"):
        spoil(images / name)
    uninterrupted = small_job(model_folder, images, tmp_path / "whole")
    featurize(uninterrupted)
    config = dataclasses.replace(uninterrupted, store=tmp_path / "s")
    compute, asked = Featurizer.features, list[str]()

    def interrupted_at_the_last_of_the_second(self, samples):
        if "005.png" in samples.ids and "005.png" not in asked:
            asked.append("005.png")
            raise KeyboardInterrupt
        asked.extend(samples.ids)
        return compute(self, samples)

    monkeypatch.setattr(Featurizer, "features", interrupted_at_the_last_of_the_second)
    with pytest.raises(
        InterruptedRunError, match=r"1 of 3 shards of .* and 2 rows of the next are done and kept"
    ):
        featurize(config)
    asked[:] = ["005.png"]
    assert featurize(config).computed == 5  # of the shards that were not whole
    assert asked[1:] == ["005.png", "006.png", "007.png"]
    assert stored(config.store) == stored(uninterrupted.store)
    noted = read_quarantine(config.store / "quarantine.jsonl")
    assert [entry.sample_id for entry in noted] == ["001.png", "003.png"]
    assert not any("NaN" in entry.reason for entry in noted)
