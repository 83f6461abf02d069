"""Where work runs: threads of this process, workers beside it, or a scheduler that has workers."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import LocalCluster

from dtrak_stream.errors import ClusterError, InputError
from dtrak_stream.support.cluster import connect, task
from dtrak_stream.support.cluster_options import ClusterOptions, own_device
from dtrak_stream.support.stopping import stop_wanted

pytestmark = [
    pytest.mark.usefixtures("no_old_clients"),
    pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning"),
]


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


def refuse(number):
    if number == 1:
        raise InputError("is bad", where=f"job {number}", remedy="give another")
    return number


def square(number):
    return number * number, os.getpid()


def note_stop(folder):
    """Work for a minute, and leave a file if that is to stop."""
    (folder / f"{os.getpid()}").touch()
    for _ in range(6000):
        time.sleep(0.01)
        if stop_wanted():
            (folder / f"{os.getpid()}.stopped").touch()
            raise KeyboardInterrupt


def told_to_stop(begun, seen):
    begun.set()
    for _ in range(1000):
        time.sleep(0.01)
        if stop_wanted():
            seen.append(True)
            return
    seen.append(False)


def never_stop(folder):
    (folder / f"{os.getpid()}").touch()
    time.sleep(60)


def die_the_first_time(folder):
    if not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def seen_from_a_worker(_):
    time.sleep(0.2)  # let the other one have a job too
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return os.getpid(), own_device(), os.environ["OMP_NUM_THREADS"], signal.SIGINT in blocked


def all_of(cluster, tasks, ahead=2):
    return list(cluster.in_order(tasks, ahead, at_a_time=cluster.threads))


def press_when(condition, presses=1):
    """Press Ctrl-C on this process once something holds."""

    def press():
        while not condition():
            time.sleep(0.01)
        for _ in range(presses):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    threading.Thread(target=press, daemon=True).start()


def names(folder: Path, suffix: str = "") -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix == suffix}


def test_a_task_of_this_process_is_told_to_stop_when_no_more_results_are_taken():
    begun, seen = threading.Event(), list[bool]()
    with connect() as cluster:
        tasks = [task(abs, -1), task(told_to_stop, begun, seen)]
        results: Any = cluster.in_order(tasks, 2, at_a_time=1)
        assert next(results) == 1
        assert begun.wait(10)
        results.close()
    assert seen == [True]


def test_this_process_computes_in_order():
    with connect() as cluster:
        event = threading.Event()
        count = max(2, cluster.workers)
        tasks = [task(late, i, event) for i in range(count)]
        assert list(cluster.in_order(tasks, count, at_a_time=count)) == list(range(count))


def test_this_process_has_a_worker_for_every_core():
    with connect() as cluster:
        assert cluster.workers == cluster.threads == os.cpu_count()


def test_no_tasks_have_no_results():
    with connect() as cluster:
        assert all_of(cluster, []) == []
        assert list(cluster.run(abs, [])) == []


def test_arguments_arrive_as_they_are():
    with connect() as cluster:
        (arrived,) = all_of(cluster, [task(given, *ARGUMENTS)])
    assert all(one is other for one, other in zip(arrived, ARGUMENTS, strict=True))


def test_the_same_task_twice_is_computed_twice():
    calls: list[int] = []
    with connect() as cluster:
        all_of(cluster, [task(calls.append, 1), task(calls.append, 1)])
    assert calls == [1, 1]


def test_a_task_may_be_of_the_results_of_others():
    with connect() as cluster:
        assert all_of(cluster, [task(operator.add, task(abs, -1), task(abs, -2))]) == [3]


def test_an_error_in_a_task_is_raised_here():
    with connect() as cluster, pytest.raises(ValueError, match="in a task"):
        all_of(cluster, [task(given, 1), task(fail)])


def test_no_more_threads_run_at_a_time_than_there_may():
    running, most = [], []

    def watched(number):
        running.append(number)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()

    with connect() as cluster:
        list(cluster.in_order([task(watched, i) for i in range(20)], 4, at_a_time=2))
    assert max(most) <= 2


def test_threads_do_without_the_client_of_a_scheduler():
    code = (
        "import sys; from dtrak_stream.support.cluster import connect, task\n"
        "with connect() as cluster:\n"
        "    print(*cluster.in_order([task(abs, -3)], 1, at_a_time=1))\n"
        "print('distributed' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["3", "False"]


def test_threads_end_with_the_tasks():
    before = set(threading.enumerate())
    with connect() as cluster:
        (thread,) = all_of(cluster, [task(threading.current_thread)])
        assert thread not in before
    assert set(threading.enumerate()) <= before


def test_jobs_of_this_process_run_one_after_the_other():
    with connect() as cluster:
        assert list(cluster.run(square, [1, 2])) == [(1, os.getpid()), (4, os.getpid())]


@pytest.fixture(scope="module")
def two():
    with connect(ClusterOptions(devices="one,two")) as cluster:
        yield cluster


def test_workers_beside_have_a_device_each(two):
    assert (two.workers, two.threads, two.memory) == (2, 1, None)
    seen = list(two.run(seen_from_a_worker, range(4)))
    pids = {pid for pid, *_ in seen}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {device for _, device, *_ in seen} == {"one", "two"}
    assert all(deaf for *_, deaf in seen), "a Ctrl-C in the terminal would end a worker at once"
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    assert {each for _, _, each, _ in seen} == {threads}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_workers_beside_do_each_job_once_and_pass_a_refusal_on_whole(two):
    assert sorted(result for result, _ in two.run(square, range(5))) == [0, 1, 4, 9, 16]
    tasks = [task(operator.add, task(abs, -i), 1) for i in range(9)]
    assert all_of(two, tasks) == list(range(1, 10))
    with pytest.raises(InputError, match="job 1: is bad; give another"):
        list(two.run(refuse, range(3)))


def test_the_job_of_a_killed_worker_is_done_by_another(two, tmp_path):
    assert list(two.run(die_the_first_time, [tmp_path])) == ["done"]


def test_a_job_that_ends_every_worker_is_given_up():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        connect(ClusterOptions(devices="one")) as cluster,
        pytest.raises(ClusterError, match="1 workers ended, one after the other, at the same"),
    ):
        list(cluster.run(die, [0]))


def test_ctrl_c_lets_running_jobs_keep_their_work_and_starts_no_more(tmp_path):
    environment = dict(os.environ)
    press_when(lambda: len(names(tmp_path)) == 2)
    with pytest.raises(KeyboardInterrupt), connect(ClusterOptions(workers=2)) as cluster:
        list(cluster.run(note_stop, [tmp_path] * 4))
    assert dict(os.environ) == environment
    assert len(names(tmp_path)) == 2
    assert names(tmp_path, ".stopped") == names(tmp_path)
    assert not any(psutil.pid_exists(int(pid)) for pid in names(tmp_path))


def test_a_second_ctrl_c_does_not_wait(tmp_path, capsys):
    begin = time.monotonic()
    press_when(lambda: len(names(tmp_path)) == 1, presses=2)
    with pytest.raises(KeyboardInterrupt), connect(ClusterOptions(devices="one")) as cluster:
        list(cluster.run(never_stop, [tmp_path]))
    assert time.monotonic() - begin < 50, "it waited for the job"
    assert "Ctrl-C again: do not wait" in capsys.readouterr().err
    assert not any(psutil.pid_exists(int(pid)) for pid in names(tmp_path))


def test_workers_beside_end_when_the_process_they_work_for_is_killed():
    code = (
        "from dtrak_stream.support.cluster import connect\n"
        "from dtrak_stream.support.cluster_options import ClusterOptions\n"
        "from tests.support.test_cluster import square\n"
        "import time\n"
        "if __name__ == '__main__':\n"
        "    with connect(ClusterOptions(devices='one')) as cluster:\n"
        "        print([pid for _, pid in cluster.run(square, [1])][0], flush=True)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        process.kill()
    worker.wait(timeout=30)


@pytest.mark.parametrize("address", ["nonsense://x", "127.0.0.1:9"])
def test_an_address_where_nobody_answers_is_refused(monkeypatch, address):
    monkeypatch.setattr("dtrak_stream.support.scheduler._CONNECT_SECONDS", 0.5)
    with pytest.raises(InputError) as refusal, connect(ClusterOptions(scheduler=address)):
        pass
    assert f"--scheduler {address}: no Dask scheduler answers" in str(refusal.value)
    assert "leave the option out" in str(refusal.value)


def test_a_scheduler_computes_in_order_or_is_refused_without_workers():
    with LocalCluster(
        n_workers=1,
        threads_per_worker=3,
        processes=False,
        dashboard_address="127.0.0.1:0",
        memory_limit=2**30,
    ) as local:
        address = local.scheduler_address
        with connect(ClusterOptions(scheduler=address)) as cluster:
            assert (cluster.workers, cluster.threads, cluster.fewest_threads) == (3, 3, 3)
            assert cluster.memory == 2**29, "half of what Dask allows"
            results = all_of(cluster, [task(given, i, range(i)) for i in range(5)])
            assert results == [(i, range(i)) for i in range(5)]
        local.scale(0)
        wait_until_empty(local)
        with pytest.raises(InputError) as refusal, connect(ClusterOptions(scheduler=address)):
            pass
    assert f"--scheduler {address}: the scheduler has no workers" in str(refusal.value)
    assert f"dask worker {address}" in str(refusal.value)


def wait_until_empty(local):
    while local.scheduler.workers:
        threading.Event().wait(0.01)
