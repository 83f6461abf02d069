"""Who shares the work, as options say it."""

from __future__ import annotations

import os

import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.cluster import connect, task
from dtrak_stream.support.cluster_options import WORKER_CORES, ClusterOptions, usable_cores


@pytest.mark.parametrize(
    ("options", "processes", "alone"),
    [
        ({}, 1, True),
        ({"workers": 1}, 1, True),
        ({"workers": 3}, 3, False),
        ({"devices": "cpu"}, 1, False),
        ({"devices": "cuda:0, cuda:1"}, 2, False),
        ({"devices": "cpu,cpu", "workers": 2}, 2, False),
        ({"scheduler": "tcp://host:1"}, 1, False),
    ],
)
def test_so_many_processes_share_the_work(options, processes, alone):
    chosen = ClusterOptions(**options)
    assert (chosen.processes, chosen.is_this_process) == (processes, alone)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"workers": 0}, "--workers 0: must be at least 1"),
        ({"devices": "cpu,"}, "--devices cpu,: a device has no name"),
        ({"devices": "cpu,cpu", "workers": 3}, "--workers 3 --devices cpu,cpu: there are 2"),
        ({"devices": "cpu", "scheduler": "tcp://host:1"}, "leave --workers and --devices out"),
        ({"workers": 2, "scheduler": "tcp://host:1"}, "leave --workers and --devices out"),
    ],
)
def test_what_contradicts_itself_is_refused(options, what):
    with pytest.raises(ConfigurationError, match=what):
        ClusterOptions(**options)


def test_a_device_besides_those_named_is_refused():
    chosen = ClusterOptions(devices="cuda:1,cuda:2")
    assert chosen.device_here("auto") == "cuda:1"
    for device in ("auto", "cuda:1"):
        chosen.refuse_two_devices(device)
    with pytest.raises(ConfigurationError, match="--device cpu --devices cuda:1,cuda:2"):
        chosen.refuse_two_devices("cpu")
    ClusterOptions().refuse_two_devices("cpu")
    assert ClusterOptions().device_here("cpu") == "cpu"


@pytest.mark.parametrize(
    ("share", "cores"), [(None, 4), ("1", 1), ("3", 3), ("9", 4), ("0", 4), ("two", 4)]
)
def test_a_worker_uses_its_share_of_the_cores(monkeypatch, share, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.delenv(WORKER_CORES, raising=False)
    if share is not None:
        monkeypatch.setenv(WORKER_CORES, share)
    assert usable_cores() == cores


def test_workers_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("dtrak_stream.support.local_workers.usable_cores", lambda: 5)
    with connect(ClusterOptions(workers=2)) as cluster:
        tasks = [task(os.getenv, WORKER_CORES)]
        assert list(cluster.in_order(tasks, 1, at_a_time=1)) == ["2"]
