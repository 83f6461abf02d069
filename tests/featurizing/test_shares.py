"""Featurizing by shares on real workers: the bytes of one process, whatever is killed meanwhile."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from dtrak_stream.cli.interruption import EXIT_INTERRUPTED
from dtrak_stream.data.images import Images
from dtrak_stream.errors import ClusterError, ConfigurationError, FingerprintMismatchError
from dtrak_stream.featurizing.preparation import join, prepare
from dtrak_stream.featurizing.run import featurize, finish
from dtrak_stream.featurizing.shares import cut
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.support.claims import holder_of
from dtrak_stream.support.cluster_options import ClusterOptions
from tests.dask_processes import DaskProcesses
from tests.featurizing.small_runs import LONG, MANY, shards_in
from tests.small_jobs import (
    flags,
    signalled,
    small_job,
    start_tool,
    stored,
)

pytestmark = [
    pytest.mark.usefixtures("no_old_clients"),
    pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning"),
]


def when(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Do something beside once a condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.002)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def on(scheduler, config):
    return dataclasses.replace(config, cluster=ClusterOptions(scheduler=scheduler))


def test_a_killed_worker_and_a_killed_scheduler_change_no_byte(
    model_folder, many_images, alone, tmp_path
):
    config = small_job(model_folder, many_images, tmp_path / "s", **LONG)
    shards = config.store / "shards"
    with DaskProcesses(tmp_path / "first", 2) as dask:
        killed: list[int] = []

        def a_worker_holds_a_claim() -> bool:
            holders = [holder_of(path.with_suffix("")) for path in shards.glob("*.claim")]
            at_work = {holder.process for holder in holders if holder is not None}
            killed[:] = at_work & {worker.pid for worker in dask.workers}
            return bool(killed and shards_in(config.store))

        killing = when(a_worker_holds_a_claim, lambda: os.kill(killed[0], signal.SIGKILL))
        losing = when(
            lambda: not killing.is_alive() and len(shards_in(config.store)) >= MANY // 2,
            dask.scheduler.kill,
        )
        with pytest.raises(ClusterError, match=r"the scheduler is lost .* the same command again"):
            featurize(on(dask.address, config))
        assert [worker.wait() for worker in dask.workers if worker.pid == killed[0]] == [
            -signal.SIGKILL
        ]
        killing.join()
        losing.join()
    kept = {name: path.stat().st_mtime_ns for name, path in shards_in(config.store).items()}
    assert MANY // 2 <= len(kept) < MANY
    with DaskProcesses(tmp_path / "second", 1) as dask:
        result = featurize(on(dask.address, config))
    assert result.computed == MANY - len(kept)
    written = {name: path.stat().st_mtime_ns for name, path in shards_in(config.store).items()}
    assert kept.items() <= written.items()
    assert stored(config.store) == alone
    assert not list(config.store.rglob("*.claim*"))


def test_ctrl_c_keeps_what_is_done_and_leaves_no_process_behind(
    model_folder, many_images, alone, tmp_path
):
    config = small_job(model_folder, many_images, tmp_path / "s", **LONG)
    config = dataclasses.replace(config, cluster=ClusterOptions(devices="cpu"))
    process = start_tool("featurize", flags(config))
    children: list[psutil.Process] = []

    def has_begun() -> bool:
        children[:] = psutil.Process(process.pid).children(recursive=True)
        return len(shards_in(config.store)) > 1

    code, out, errors = signalled(process, signal.SIGINT, has_begun, 0.05)
    done = len(shards_in(config.store))
    assert (code, out) == (EXIT_INTERRUPTED, ""), errors
    assert 0 < done < MANY
    assert errors.splitlines()[-1] == (
        f"interrupted: {done} of {MANY} shards of {config.store} are done and kept; "
        "run the same command again to continue where it stopped"
    )
    assert errors.count(" parameters, weights as saved in ") == 1  # of the command, not of workers
    assert children
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert not list(config.store.rglob("*.partial"))
    assert not list(config.store.rglob("*.claim"))
    assert featurize(small_job(model_folder, many_images, config.store, **LONG)).computed == (
        MANY - done
    )
    assert stored(config.store) == alone


def test_a_worker_reads_no_image_to_know_them_and_computes_what_is_missing(
    model_folder, spoilt, whole, tmp_path, monkeypatch
):
    """A command that begins the store knows what the images are; a worker takes that over."""
    config = small_job(model_folder, spoilt, tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr("dtrak_stream.featurizing.run._compute", lambda _: 0)
        patch.setattr("dtrak_stream.store.writer.StoreWriter.settle", lambda _: 0)
        finish(prepare(config))
    monkeypatch.setattr(
        Images, "_hash", lambda *_: pytest.fail("it reads all images"), raising=False
    )
    joined = join(config)
    assert joined.stores.missing_shards() == [0, 1, 2]


def test_a_worker_with_another_model_computes_nothing(
    model_folder, other_model_folder, spoilt, tmp_path
):
    config = small_job(model_folder, spoilt, tmp_path / "s")
    featurize(config)
    with pytest.raises(FingerprintMismatchError, match="weights differs"):
        join(dataclasses.replace(config, model=other_model_folder))


def test_a_model_given_from_python_is_not_shared(model_folder, spoilt, tmp_path):
    config = small_job(model_folder, spoilt, tmp_path / "s")
    config = dataclasses.replace(config, cluster=ClusterOptions(workers=2))
    with pytest.raises(ConfigurationError, match="in this process alone"):
        featurize(config, denoiser=load_denoiser(model_folder))
    assert not config.store.exists()


def test_devices_that_are_not_here_are_refused_before_any_work(model_folder, spoilt, tmp_path):
    config = small_job(model_folder, spoilt, tmp_path / "s", device="auto")
    for devices in ("cuda:99,cuda:98", "cpu,none"):
        one = dataclasses.replace(config, cluster=ClusterOptions(devices=devices))
        with pytest.raises(ConfigurationError, match=r"--devices (cuda:99|none): "):
            featurize(one)
    assert not config.store.exists()


@pytest.mark.parametrize(
    ("missing", "workers", "sizes"),
    [(3, 2, {1}), (160, 2, {10}), (10_000, 2, {16}), (33, 2, {2, 1})],
)
def test_shares_are_many_for_each_worker_and_hold_each_shard_once(missing, workers, sizes):
    shares = list(cut(range(5, 5 + missing), workers))
    assert [shard for share in shares for shard in share] == list(range(5, 5 + missing))
    assert set(map(len, shares)) == sizes
