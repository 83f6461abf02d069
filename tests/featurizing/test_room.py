"""Disk and memory: what cannot fit is refused first, and a disk that fills up does no harm."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from typing import Any, NamedTuple

import psutil
import pytest

from dtrak_stream.cli.command_line import (
    EXIT_REFUSED,
)
from dtrak_stream.errors import (
    DiskFullError,
    MemoryLimitError,
)
from dtrak_stream.featurizing.run import featurize
from tests.featurizing.small_runs import shards_in
from tests.small_jobs import (
    flags,
    small_job,
    stored,
)


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


def test_a_disk_that_fills_up_leaves_no_half_written_file(model_folder, spoilt, tmp_path, capfd):
    """The operating system refuses the second write of a shard, as a full disk does."""
    large: dict[str, Any] = {"proj_dim": 4096, "dtype": "float32"}
    config = small_job(model_folder, spoilt, tmp_path / "s", **large)

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
    unhindered = small_job(model_folder, spoilt, tmp_path / "t", **large)
    featurize(unhindered)
    assert stored(config.store) == stored(unhindered.store)


class Usage(NamedTuple):
    free: int


class Memory(NamedTuple):
    available: int


def test_a_store_that_cannot_fit_on_the_disk_is_refused_before_any_work(
    model_folder, spoilt, tmp_path, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=40_000))
    config = small_job(model_folder, spoilt, tmp_path / "new" / "s")
    with pytest.raises(DiskFullError, match=r"s: .* are needed and 39\.1 KiB are free; "):
        featurize(config)
    # nothing is there that would hold the user to the options that did not fit
    assert not config.store.exists()
    fitting = small_job(model_folder, spoilt, config.store, limit=2)
    assert featurize(fitting).computed == 2


def test_room_is_needed_for_missing_shards_only(model_folder, spoilt, begun, monkeypatch):
    (begun / "shards" / "00000001.h5").unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=40_000))
    assert featurize(small_job(model_folder, spoilt, begun)).computed == 3


def test_a_shard_that_cannot_fit_in_memory_is_refused_before_any_work(
    model_folder, spoilt, tmp_path, monkeypatch
):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(available=4000))
    config = small_job(model_folder, spoilt, tmp_path / "s")
    with pytest.raises(MemoryLimitError, match=r"^--rows-per-shard 3: .*lower --rows-per-shard"):
        featurize(config)
    assert not config.store.exists()
    assert featurize(small_job(model_folder, spoilt, config.store, rows_per_shard=1)).computed == 8


def test_a_finished_store_needs_no_room(model_folder, spoilt, begun, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(available=0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=0))
    assert featurize(small_job(model_folder, spoilt, begun)).computed == 0
