"""Featurizing that is killed, interrupted, refused or out of room, and then goes on."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from dtrak_stream.cli.command_line import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_QUARANTINED,
    EXIT_REFUSED,
)
from dtrak_stream.data import ImageOptions, Images
from dtrak_stream.errors import (
    CorruptFileError,
    DiskFullError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
    MemoryLimitError,
)
from dtrak_stream.featurizing.execution import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store import FeatureStore, read_quarantine
from tests.conftest import build_unet, save_model
from tests.crashing import finishes_before_step
from tests.small_jobs import (
    HOOKED,
    fingerprint_of,
    flags,
    random_pixels,
    run_tool,
    save_images,
    signalled,
    small_job,
    spoil,
    start_tool,
    stored,
    written_at,
)

CORRUPT = ("001.png", "005.png", "006.png")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Eight images in three shards; each shard has a corrupt one."""
    folder = save_images(tmp_path_factory.mktemp("images"), random_pixels(8))
    for name in CORRUPT:
        spoil(folder / name)
    return folder


@pytest.fixture(scope="module")
def whole(model_folder, images, tmp_path_factory) -> Path:
    """The store of a run that nothing interrupted."""
    store: Path = tmp_path_factory.mktemp("whole") / "s"
    featurize(small_job(model_folder, images, store))
    return store


@pytest.fixture
def begun(whole, tmp_path) -> Path:
    """A copy of the finished store."""
    return Path(shutil.copytree(whole, tmp_path / "begun"))


def shards_in(store):
    return {path.name: path for path in store.glob("shards/*.h5")}


def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(
    model_folder, images, whole, tmp_path
):
    step, starts = 0, set()
    while True:
        config = small_job(model_folder, images, tmp_path / str(step))
        finished = finishes_before_step(lambda c=config: featurize(c), step)  # type: ignore[misc]
        kept = written_at(config.store / "shards")
        complete = {name: kept[name] for name in shards_in(config.store)}
        assert set(complete) == {f"{shard:08d}.h5" for shard in range(len(complete))}
        result = featurize(config)
        assert result.computed == (8, 5, 2, 0)[len(complete)]
        assert complete.items() <= written_at(config.store / "shards").items()
        assert stored(config.store) == stored(whole)
        assert (config.store / "config.yaml").exists()
        starts.add(len(complete))
        if finished:
            break
        step += 1
    assert starts == {0, 1, 2, 3}
    # at least plan, configuration, joined view, and for each shard the ledger and itself
    assert step >= 3 * 3 + 3 * (1 + 3)


def test_kills_in_a_row_end_with_the_same_bytes(model_folder, images, tmp_path):
    """The run goes on from a folder that has been killed many times, and not always early."""
    config = small_job(model_folder, images, tmp_path / "s", execution=HOOKED)
    unhindered = dataclasses.replace(config, store=tmp_path / "t")
    featurize(unhindered)
    deaths = 0
    while not finishes_before_step(lambda: featurize(config), 2 + deaths):
        deaths += 1
        assert deaths < 50, "no progress from one restart to the next"
    assert deaths > 3
    assert stored(config.store) == stored(unhindered.store)


@pytest.mark.parametrize("torn", ["first", "later"])
def test_a_ledger_entry_torn_by_a_crash_is_written_again(model_folder, images, whole, begun, torn):
    """A power cut may leave half a line, and no shard that it belongs to."""
    missing = range(0 if torn == "first" else 1, 3)
    for shard in missing:
        (begun / "shards" / f"{shard:08d}.h5").unlink()
    lines = (whole / "quarantine.jsonl").read_bytes().splitlines(keepends=True)
    (begun / "quarantine.jsonl").write_bytes(b"".join(lines[: missing.start]) + lines[1][:20])
    featurize(small_job(model_folder, images, begun))
    assert stored(begun) == stored(whole)


def test_resuming_a_store_with_quarantined_samples_keeps_the_ledger(
    model_folder, images, whole, begun
):
    (begun / "shards" / "00000002.h5").unlink()
    result = featurize(small_job(model_folder, images, begun))
    assert (result.quarantined, result.computed) == (3, 2)
    assert stored(begun) == stored(whole)
    assert [entry.sample_id for entry in read_quarantine(begun / "quarantine.jsonl")] == [*CORRUPT]


def test_a_resumed_store_is_computed_as_it_was_begun(model_folder, images, tmp_path):
    """The way that was fastest is chosen once, since rounding depends on it."""
    config = small_job(model_folder, images, tmp_path / "s", execution=ExecutionOptions())
    featurize(config)
    resumed = Path(shutil.copytree(config.store, tmp_path / "resumed"))
    (resumed / "shards" / "00000001.h5").unlink()
    featurize(dataclasses.replace(config, store=resumed))
    assert stored(resumed) == stored(config.store)


def test_a_missing_joined_view_is_written_again(model_folder, images, whole, begun):
    (begun / "features.h5").unlink()
    assert featurize(small_job(model_folder, images, begun)).computed == 0
    assert stored(begun) == stored(whole)


def test_what_killed_writes_left_behind_is_removed(model_folder, images, whole, begun):
    for name in ("shards/00000001.h5", "features.h5", "quarantine.jsonl"):
        (begun / f"{name}.partial").write_bytes(b"torn")
    featurize(small_job(model_folder, images, begun))
    assert stored(begun) == stored(whole)


LONG: dict[str, Any] = {"rows_per_shard": 1, "timesteps": "uniform:50"}


@pytest.fixture(scope="module")
def many_images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("many"), random_pixels(50))


@pytest.fixture(scope="module")
def long_run(model_folder, many_images, tmp_path_factory):
    """The files of a longer run that nothing interrupted."""
    store = tmp_path_factory.mktemp("long") / "s"
    featurize(small_job(model_folder, many_images, store, **LONG))
    return stored(store)


def stopped_half_way(config, number):
    """Signal the real command at a random moment after its first shard appeared."""
    delay = random.uniform(0, 0.2)
    process = start_tool("featurize", flags(config))
    first = config.store / "shards" / "00000000.h5"
    code, out, errors = signalled(process, number, first.exists, delay)
    done = len(shards_in(config.store))
    assert 0 < done < 50, f"{done} shards were done {delay} s after the first one"
    return code, out, errors


def test_kill_9_of_the_command_and_a_restart_give_the_same_bytes(
    model_folder, many_images, long_run, tmp_path
):
    config = small_job(model_folder, many_images, tmp_path / "s", **LONG)
    assert stopped_half_way(config, signal.SIGKILL)[0] == -signal.SIGKILL
    before = {name: path.stat().st_mtime_ns for name, path in shards_in(config.store).items()}
    restarted = start_tool("featurize", flags(config))
    out, errors = restarted.communicate(timeout=120)
    assert restarted.returncode == EXIT_DONE, errors
    assert out == f"{config.store}\n"
    assert f"{50 - len(before)} images featurized" in errors
    after = {name: path.stat().st_mtime_ns for name, path in shards_in(config.store).items()}
    assert before.items() <= after.items()
    assert stored(config.store) == long_run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_to_go_on_and_keeps_what_is_done(
    model_folder, many_images, long_run, tmp_path, number
):
    config = small_job(model_folder, many_images, tmp_path / "s", **LONG)
    code, out, errors = stopped_half_way(config, number)
    assert (code, out) == (EXIT_INTERRUPTED, ""), errors
    done = len(shards_in(config.store))
    *_, last = errors.splitlines()
    assert last == (
        f"interrupted: {done} of 50 shards of {config.store} are done and kept; "
        "run the same command again to continue where it stopped"
    )
    assert not list(config.store.rglob("*.partial"))
    assert featurize(config).computed == 50 - done
    assert stored(config.store) == long_run


def test_an_interrupt_in_python_says_what_is_done(
    model_folder, images, whole, tmp_path, monkeypatch
):
    config = small_job(model_folder, images, tmp_path / "s")
    decode = Images.image

    def interrupted_at_the_fifth(self, index):
        if index == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return decode(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Images, "image", interrupted_at_the_fifth)
        with pytest.raises(InterruptedRunError, match=r"[0-2] of 3 shards of .* are done and kept"):
            featurize(config)
    assert not list(config.store.rglob("*.partial"))
    assert featurize(config).computed in (8, 5, 2)
    assert stored(config.store) == stored(whole)


OTHER_RUNS = [
    ("output_function", {"output_function": "simple"}),
    ("timesteps", {"timesteps": "list:0,501"}),
    ("timesteps", {"timesteps": "list:500,0"}),
    ("seed", {"seed": 1}),
    ("noise_keying", {"noise": "per-sample"}),
    ("noise_draws", {"noise_draws": 2}),
    ("projector", {"projector": "rademacher"}),
    ("proj_dim", {"proj_dim": 128}),
    ("parameters", {"parameters": "bias"}),
    ("precision", {"precision": "bfloat16"}),
    ("dtype", {"dtype": "float32"}),
    ("rows_per_shard", {"rows_per_shard": 4}),
    ("images", {"limit": 7}),
]


def refused(config, field):
    """Run a job that must be refused for `field`, and must leave its store as it is."""
    before, fingerprint = written_at(config.store), fingerprint_of(config.store)
    with pytest.raises(FingerprintMismatchError) as refusal:
        featurize(config)
    error = refusal.value
    assert error.field == field
    assert error.stored == getattr(fingerprint, field)
    assert error.requested != error.stored
    assert str(error).startswith(f"{config.store}: {field} differs: ")
    assert f"stored {error.stored!r}, requested {error.requested!r}" in str(error)
    assert written_at(config.store) == before
    return error


@pytest.mark.parametrize(("field", "changes"), OTHER_RUNS)
def test_another_run_in_the_same_store_is_refused(model_folder, images, begun, field, changes):
    (begun / "shards" / "00000002.h5").unlink()
    refused(small_job(model_folder, images, begun, **changes), field)


def test_the_refusal_gives_both_values_as_the_user_gave_them(model_folder, images, begun):
    error = refused(small_job(model_folder, images, begun, proj_dim=128), "proj_dim")
    assert (error.stored, error.requested) == (64, 128)


def test_other_weights_are_refused(other_model_folder, images, begun):
    refused(small_job(other_model_folder, images, begun), "weights")


def test_a_model_that_predicts_something_else_is_refused(images, begun, tmp_path):
    model = save_model(tmp_path / "v", build_unet(), "v_prediction")
    error = refused(small_job(model, images, begun), "model")
    assert "epsilon" in error.stored
    assert "v_prediction" in error.requested


def test_another_image_is_refused(model_folder, images, begun, tmp_path):
    changed = Path(shutil.copytree(images, tmp_path / "changed"))
    save_images(changed, random_pixels(1, seed=1), ["002.png"])
    refused(small_job(model_folder, changed, begun), "images")


def test_another_order_is_refused(model_folder, images, begun, tmp_path):
    swapped = Path(shutil.copytree(images, tmp_path / "swapped"))
    (swapped / "000.png").rename(swapped / "x")
    (swapped / "002.png").rename(swapped / "000.png")
    (swapped / "x").rename(swapped / "002.png")
    refused(small_job(model_folder, swapped, begun), "images")


def test_another_way_to_fit_images_is_refused(model_folder, images, begun):
    config = small_job(model_folder, images, begun)
    refused(dataclasses.replace(config, image_options=ImageOptions(image_fit="crop")), "images")


def test_images_that_moved_are_the_same_images(model_folder, images, begun, tmp_path):
    moved = shutil.copytree(images, tmp_path / "moved")
    assert featurize(small_job(model_folder, moved, begun)).computed == 0


def truncate(shard):
    shard.write_bytes(shard.read_bytes()[:-100])


def empty(shard):
    shard.write_bytes(b"")


def flip_a_byte(shard):
    content = bytearray(shard.read_bytes())
    content[content.index(FeatureStore.open(shard.parents[1]).shard(1).features.tobytes())] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_byte])
def test_a_damaged_shard_is_refused_and_redone_on_request(
    model_folder, images, whole, begun, damage
):
    damage(begun / "shards" / "00000001.h5")
    before = written_at(begun)
    with pytest.raises(CorruptFileError, match=r"00000001\.h5: .*--redo-corrupt"):
        featurize(small_job(model_folder, images, begun))
    assert written_at(begun) == before
    result = featurize(small_job(model_folder, images, begun, redo_corrupt=True))
    assert result.computed == 3
    assert stored(begun) == stored(whole)
    after = written_at(begun)
    for shard in ("shards/00000000.h5", "shards/00000002.h5"):
        assert after[shard] == before[shard]


def test_a_kill_while_a_damaged_shard_is_redone_leaves_a_store_that_goes_on(
    model_folder, images, whole, begun, tmp_path
):
    damaged = Path(shutil.copytree(begun, tmp_path / "damaged"))
    truncate(damaged / "shards" / "00000001.h5")
    step, finished = 0, False
    while not finished:
        store = Path(shutil.copytree(damaged, tmp_path / str(step)))
        redo = small_job(model_folder, images, store, redo_corrupt=True)
        finished = finishes_before_step(lambda c=redo: featurize(c), step)  # type: ignore[misc]
        featurize(small_job(model_folder, images, store))
        assert stored(store) == stored(whole)
        step += 1
    assert step > 3


def in_child_with_file_limit(size, work):
    """Run `work` in a forked child that cannot write files larger than `size`."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            work()
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        os._exit(99)
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status)


def test_a_disk_that_fills_up_leaves_no_half_written_file(model_folder, images, tmp_path, capfd):
    """The operating system refuses the second write of a shard, as a full disk does."""
    large: dict[str, Any] = {"proj_dim": 4096, "dtype": "float32"}
    config = small_job(model_folder, images, tmp_path / "s", **large)

    def run() -> None:
        from dtrak_stream.cli.command_line import run as run_command
        from dtrak_stream.featurizing.options import FeaturizeConfig

        run_command(FeaturizeConfig, featurize, flags(config))

    assert in_child_with_file_limit(40_000, run) == EXIT_REFUSED
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"error: {config.store}/shards/00000000.h5: no room left")
    assert "run the same command again" in line
    assert not shards_in(config.store)
    assert not list(config.store.rglob("*.partial"))
    assert featurize(config).computed == 8
    unhindered = small_job(model_folder, images, tmp_path / "t", **large)
    featurize(unhindered)
    assert stored(config.store) == stored(unhindered.store)


class Usage(NamedTuple):
    free: int


class Memory(NamedTuple):
    available: int


def test_a_store_that_cannot_fit_on_the_disk_is_refused_before_any_work(
    model_folder, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=40_000))
    config = small_job(model_folder, images, tmp_path / "new" / "s")
    with pytest.raises(DiskFullError, match=r"s: .* are needed and 39\.1 KiB are free; "):
        featurize(config)
    # nothing is there that would hold the user to the options that did not fit
    assert not config.store.exists()
    fitting = small_job(model_folder, images, config.store, limit=2)
    assert featurize(fitting).computed == 2


def test_room_is_needed_for_missing_shards_only(model_folder, images, begun, monkeypatch):
    (begun / "shards" / "00000001.h5").unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=40_000))
    assert featurize(small_job(model_folder, images, begun)).computed == 3


def test_a_shard_that_cannot_fit_in_memory_is_refused_before_any_work(
    model_folder, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(available=4000))
    config = small_job(model_folder, images, tmp_path / "s")
    with pytest.raises(MemoryLimitError, match=r"^--rows-per-shard 3: .*lower --rows-per-shard"):
        featurize(config)
    assert not config.store.exists()
    assert featurize(small_job(model_folder, images, config.store, rows_per_shard=1)).computed == 8


def test_a_finished_store_needs_no_room(model_folder, images, begun, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(available=0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=0))
    assert featurize(small_job(model_folder, images, begun)).computed == 0


def test_the_command_reports_quarantined_samples_by_its_exit_code(
    model_folder, images, tmp_path, capsys
):
    config = small_job(model_folder, images, tmp_path / "s")
    code, out, errors = run_tool("featurize", flags(config), capsys)
    assert (code, out) == (EXIT_QUARANTINED, f"{config.store}\n")
    assert f"3 samples quarantined, see {config.store}/quarantine.jsonl" in errors


def test_the_command_refuses_in_one_line(model_folder, images, begun, capsys):
    config = small_job(model_folder, images, begun, seed=1)
    code, out, errors = run_tool("featurize", flags(config), capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert errors == (
        f"error: {begun}: seed differs: stored 0, requested 1; give the options the store was "
        "begun with, or another --store (or --run)\n"
    )


def test_a_store_path_that_is_a_file_is_refused(model_folder, images, tmp_path):
    (tmp_path / "s").write_text("precious")
    with pytest.raises(InputError, match=r"s: .*not a folder"):
        featurize(small_job(model_folder, images, tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "precious"


def test_two_runs_at_once_share_the_shards(model_folder, images, whole, tmp_path):
    """Both end well; each image is computed by one of them; the files are those of one alone."""
    command = flags(small_job(model_folder, images, tmp_path / "s", rows_per_shard=1))
    alone = small_job(model_folder, images, tmp_path / "alone", rows_per_shard=1)
    featurize(alone)
    runs = [start_tool("featurize", command) for _ in range(2)]
    errors = [run.communicate(timeout=300)[1] for run in runs]
    assert [run.returncode for run in runs] == [EXIT_QUARANTINED] * 2, errors
    assert stored(tmp_path / "s") == stored(alone.store)
    assert not list((tmp_path / "s").rglob("*.claim*"))
    counts = [re.search(r": (\d+) images featurized|already complete", text) for text in errors]
    assert all(counts), errors
    assert sum(int(found[1] or 0) for found in counts if found) == 8


def test_the_shards_of_a_run_killed_beside_are_taken_over(model_folder, images, tmp_path):
    config = small_job(model_folder, images, tmp_path / "s", rows_per_shard=1)
    alone = dataclasses.replace(config, store=tmp_path / "alone")
    featurize(alone)
    first = start_tool("featurize", flags(config))
    while not list(config.store.glob("shards/*.claim")):
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)  # it holds a claim and will never finish
    second = start_tool("featurize", flags(config))
    time.sleep(1.0)
    first.kill()
    first.communicate()
    _, errors = second.communicate(timeout=300)
    assert second.returncode == EXIT_QUARANTINED, errors
    assert stored(config.store) == stored(alone.store)
    assert not list(config.store.rglob("*.claim*"))
    assert not list(config.store.rglob("*.partial"))
