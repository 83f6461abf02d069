"""Plans of work that is shared: its time is divided by what shares it, its memory told for each."""

from __future__ import annotations

import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from dtrak_stream.errors import ConfigurationError, MemoryLimitError
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.planning import run as run_module
from dtrak_stream.planning import sharing as sharing_module
from dtrak_stream.planning.calibration import FeaturizingSpeed
from dtrak_stream.planning.run import plan
from dtrak_stream.planning.sharing import Sharing
from dtrak_stream.planning.stages import plan_features
from dtrak_stream.support.cluster_options import HERE, THREADS, ClusterOptions
from tests.conftest import store_of
from tests.planning.conftest import config, stages_of


@pytest.fixture
def machine(monkeypatch):
    """Return what makes this a machine of so many cores, on whose GPUs `cuda` names are."""

    def make(cores: int, threads: int, *, told: bool) -> None:
        for name in THREADS:
            monkeypatch.delenv(name, raising=False)
        if told:
            monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    def device(name: str) -> torch.device:
        return torch.device("cuda:0" if name == "auto" else name)

    monkeypatch.setattr(sharing_module, "choose_device", device)
    return make


@pytest.mark.parametrize(
    ("cores", "threads", "told", "workers", "times_as_fast"),
    [
        (8, 8, False, 4, 1.0),  # all cores are taken before and after
        (8, 8, False, 3, 0.75),  # 2 each, and 2 are left
        (8, 1, True, 4, 4.0),
        (8, 4, True, 4, 2.0),  # 16 threads on 8 cores
    ],
)
def test_processes_are_as_fast_as_the_cores_that_they_take(
    machine, cores, threads, told, workers, times_as_fast
):
    machine(cores, threads, told=told)
    sharing = Sharing.of(ClusterOptions(workers=workers), "cpu")
    assert (sharing.processes, sharing.times_as_fast) == (workers, times_as_fast)


@pytest.mark.parametrize(
    ("options", "processes", "times_as_fast"),
    [
        (ClusterOptions(devices="cuda:0,cuda:1,cuda:2"), 3, 3),
        (ClusterOptions(devices="cuda:0,cuda:0"), 2, 1),
        (ClusterOptions(workers=2), 2, 1),  # both on the one that is found
        (ClusterOptions(), 1, 1),
    ],
)
def test_processes_on_one_gpu_are_no_faster_than_one(machine, options, processes, times_as_fast):
    machine(8, 8, told=False)
    sharing = Sharing.of(options, "auto")
    assert (sharing.processes, sharing.times_as_fast) == (processes, times_as_fast)


def test_workers_of_a_scheduler_count_by_their_processes(monkeypatch):
    @contextmanager
    def connected(_options):
        yield SimpleNamespace(workers=6, threads=2)

    monkeypatch.setattr(sharing_module, "connect", connected)
    sharing = Sharing.of(ClusterOptions(scheduler="tcp://there:8786"), "cpu")
    assert (sharing.processes, sharing.times_as_fast, sharing.is_here) == (3, 3, False)


def test_time_is_divided_and_memory_is_that_of_each(tmp_path):
    store = store_of(tmp_path / "s", torch.zeros(12, 4).numpy())
    speed = FeaturizingSpeed(2.0, 4.0, 1.0, 1.0, "hooked", 0)
    shared = Sharing(ClusterOptions(workers=3), 3, 2.0)
    alone, among = (
        plan_features("features", [store], 1000, speed, sharing)
        for sharing in (Sharing(HERE), shared)
    )
    assert (alone.seconds, alone.cpu_seconds, alone.memory_in_all) == (6, 3, alone.memory)
    assert (among.seconds, among.cpu_seconds, among.memory) == (3, 3, alone.memory)
    assert among.memory_in_all == 3 * alone.memory
    assert "of memory for each of 3 processes, " in str(among)
    assert "processes" not in str(alone)


def test_features_and_gram_matrix_are_shared_and_scores_are_not(
    model_folder, tmp_path, monkeypatch, capsys
):
    shared = config(model_folder, tmp_path, cluster=ClusterOptions(workers=2))
    stages = stages_of(plan(shared))
    told = capsys.readouterr().err
    processes = {name: stage.processes for name, stage in stages.items()}
    assert processes.pop("scores") == 1
    assert set(processes.values()) == {2}
    assert "for each of the 2 that share the work" in told.splitlines()[-1]
    alone = stages_of(plan(config(model_folder, tmp_path)))["train features"].memory
    monkeypatch.setattr(run_module, "usable_memory", lambda: 3 * alone // 2)
    with pytest.raises(MemoryLimitError, match="or --workers"):
        plan(shared)
    plan(config(model_folder, tmp_path))


def test_a_model_given_from_python_is_not_planned_as_shared(model_folder, tmp_path):
    shared = config(model_folder, tmp_path, cluster=ClusterOptions(workers=2))
    with pytest.raises(ConfigurationError, match="in this process alone"):
        plan(shared, denoiser=load_denoiser(model_folder))


def test_a_device_that_is_named_twice_is_refused_as_in_a_run(model_folder, tmp_path):
    planned = config(model_folder, tmp_path)
    with pytest.raises(ConfigurationError, match="named twice"):
        config(
            model_folder,
            tmp_path,
            features=planned.features.__class__(device="cuda:1"),
            cluster=ClusterOptions(devices="cuda:0,cuda:1"),
        )
