"""Where work runs: threads of this process, or a scheduler that is there and has workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest
from distributed import LocalCluster

from dtrak_stream.errors import InputError
from dtrak_stream.support.cluster import connect, task


@dataclass(frozen=True)
class Tile:
    rows: range
    options: dict


ARGUMENTS = (
    range(3),
    [1, [2, (3,)]],
    {"a": {4}},
    (len, "abc"),  # to Dask, such a tuple once was a call
    Tile(range(2), {"key": (len, [1])}),
    None,
    object(),
)


def given(*arguments):
    return arguments


def late(number, event):
    """Return the number, the first one last."""
    if number == 0:
        event.wait(1)
    else:
        event.set()
    return number


def fail():
    raise ValueError("in a task")


def test_this_process_computes_in_order():
    with connect(None) as cluster:
        event = threading.Event()
        count = max(2, cluster.workers)
        assert cluster.compute([task(late, i, event) for i in range(count)]) == list(range(count))


def test_this_process_has_a_worker_for_every_core():
    with connect(None) as cluster:
        assert cluster.workers == os.cpu_count()


def test_no_tasks_have_no_results():
    with connect(None) as cluster:
        assert list(cluster.compute([])) == []


def test_arguments_arrive_as_they_are():
    with connect(None) as cluster:
        (arrived,) = cluster.compute([task(given, *ARGUMENTS)])
    assert all(one is other for one, other in zip(arrived, ARGUMENTS, strict=True))


def test_the_same_task_twice_is_computed_twice():
    calls: list[int] = []
    with connect(None) as cluster:
        cluster.compute([task(calls.append, 1), task(calls.append, 1)])
    assert calls == [1, 1]


def test_an_error_in_a_task_is_raised_here():
    with connect(None) as cluster, pytest.raises(ValueError, match="in a task"):
        cluster.compute([task(given, 1), task(fail)])


def test_threads_do_without_the_client_of_a_scheduler():
    code = (
        "import sys; from dtrak_stream.support.cluster import connect, task\n"
        "with connect(None) as cluster: print(*cluster.compute([task(abs, -3)]))\n"
        "print('distributed' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["3", "False"]


def test_threads_end_with_the_connection():
    before = set(threading.enumerate())
    with connect(None) as cluster:
        (thread,) = cluster.compute([task(threading.current_thread)])
        assert thread not in before
    assert set(threading.enumerate()) <= before


@pytest.mark.usefixtures("no_old_clients")
@pytest.mark.parametrize("address", ["nonsense://x", "127.0.0.1:9"])
def test_an_address_where_nobody_answers_is_refused(monkeypatch, address):
    monkeypatch.setattr("dtrak_stream.support.scheduler._CONNECT_SECONDS", 0.5)
    with pytest.raises(InputError) as refusal, connect(address):
        pass
    assert f"--scheduler {address}: no Dask scheduler answers" in str(refusal.value)
    assert "leave the option out" in str(refusal.value)


@pytest.mark.usefixtures("no_old_clients")
@pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning")
def test_a_scheduler_computes_in_order_or_is_refused_without_workers():
    with LocalCluster(
        n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None
    ) as local:
        address = local.scheduler_address
        with connect(address) as cluster:
            assert cluster.workers == 3
            results = cluster.compute([task(given, i, range(i)) for i in range(5)])
            assert results == [(i, range(i)) for i in range(5)]
        local.scale(0)
        wait_until_empty(local)
        with pytest.raises(InputError) as refusal, connect(address):
            pass
    assert f"--scheduler {address}: the scheduler has no workers" in str(refusal.value)
    assert f"dask worker {address}" in str(refusal.value)


def wait_until_empty(local):
    while local.scheduler.workers:
        threading.Event().wait(0.01)
