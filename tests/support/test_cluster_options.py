"""Who shares the work, as options say it."""

from __future__ import annotations

import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.cluster_options import ClusterOptions, usable_cores


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


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 3, 4}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores() == 1
